"""What a model of transformers is in vitrail's terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import OnlyTheirs
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.settings import Settings
from vitrail.checkpoints.sources.ssseg.methods.maskformer import class_weights
from vitrail.recipes import ModelConfig

# Arguments of our heads by their names there, with the value that a missing one has; None for those always there.
Arguments = Mapping[str, tuple[str, Any]]
# The class weights of losses of queries, which their checkpoints hold.
EMPTY_WEIGHT = OnlyTheirs("criterion.empty_weight", "head.classifier.bias", class_weights)
# Of the losses at sampled points.
POINT_LOSSES: Arguments = {
    "train_num_points": ("num_points", 12544),
    "oversample_ratio": ("oversample", 3.0),
    "importance_sample_ratio": ("importance_ratio", 0.75),
    "class_weight": ("class_weight", 2.0),
    "mask_weight": ("mask_weight", 5.0),
    "dice_weight": ("dice_weight", 5.0),
    "no_object_weight": ("no_object_weight", 0.1),
}


@dataclass(frozen=True)
class Translation:
    """A model of transformers in vitrail's terms.

    Attributes
    ----------
    segmentor : str
        The method's name.
    encoder : Encoder
        What it stands on.
    renaming : Renaming
        From the names of its tensors to ours.
    options : dict
        Arguments of the method's head.
    auxiliary : dict
        The auxiliary heads, as `vitrail.recipes.AuxiliaryConfig` has them.
    resize_once : bool
        Whether its logits are smaller than the images, so that its image processor resizes them to the size of the
        original image at once.
    """

    segmentor: str
    encoder: Encoder
    renaming: Renaming
    options: dict[str, Any]
    auxiliary: dict[str, Any] = field(default_factory=dict)
    resize_once: bool = False


@dataclass(frozen=True)
class ModelRecord:
    """A kind of model of transformers.

    Attributes
    ----------
    architecture : str
        The name of its class.
    translate : callable
        From its configuration to the model in vitrail's terms.
    segmentor : str
        The method that it is written from; empty for models that are read only.
    describe : callable
        From the model section of a recipe, with every option of the method, to its configuration.
    processor : str
        The image processor that is written beside it.
    backbones : str
        A regular expression for the encoders that it is written from, where the method has several configurations.
    """

    architecture: str
    translate: Callable[[Settings], Translation]
    segmentor: str = ""
    describe: Callable[[ModelConfig], dict[str, Any]] | None = None
    processor: str = ""
    backbones: str = r".*"


def taken(settings: Settings, table: Arguments) -> dict[str, Any]:
    """Return the arguments of a head that a configuration gives."""
    return {
        ours: settings.take(theirs) if default is None else settings.take(theirs, default)
        for theirs, (ours, default) in table.items()
    }


def given(options: Mapping[str, Any], table: Arguments) -> dict[str, Any]:
    """Return what a configuration says of the arguments of a head; the inverse of `taken`."""
    return {theirs: options[ours] for theirs, (ours, _) in table.items()}
