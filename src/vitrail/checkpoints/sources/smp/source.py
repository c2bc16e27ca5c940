"""Folders that smp's `save_pretrained` writes: config.json and model.safetensors.

References
----------
https://github.com/qubvel-org/segmentation_models.pytorch
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitrail.checkpoints.cards import card_from_recipe
from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.hub import WEIGHTS
from vitrail.checkpoints.sources.encoder import Encoder, as_given, model_config
from vitrail.checkpoints.sources.renaming import Renaming, State, combine
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.checkpoints.sources.smp import contexts, dpt, pyramids, u_shaped
from vitrail.checkpoints.sources.smp.encoders import SmpEncoder, encoder_of
from vitrail.checkpoints.sources.smp.records import ModelRecord
from vitrail.checkpoints.sources.source import register_source
from vitrail.datasets.label_sets import label_set
from vitrail.errors import CheckpointError
from vitrail.recipes import ModelConfig
from vitrail.segmentors import SEGMENTORS, ModelCard

MODELS: dict[str, ModelRecord] = {
    **u_shaped.MODELS,
    **pyramids.MODELS,
    **contexts.MODELS,
    "DPT": ModelRecord("dpt", dpt.dpt, encoder=dpt.dpt_encoder_of),
}
_CLASS = "_model_class"
_LABELS = "classification_head."  # of whole images, beside the segmentation
# Datasets of models whose files name no classes, by the number of classes and what the name of the folder holds.
_DATASETS = ((150, "", "ade20k"), (19, "city", "cityscapes"), (21, "voc", "voc"))


@register_source("smp")
class Smp:
    """Folders of segmentation_models_pytorch, as they lie on the Hugging Face hub."""

    title = "segmentation_models_pytorch"

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Return whether a config.json beside the weights describes a model of the package."""
        if "vitrail" in checkpoint.metadata or checkpoint.origin.name not in WEIGHTS:
            return False
        config = checkpoint.config
        return config is not None and _CLASS in config and "encoder_name" in config

    def translate(self, checkpoint: Checkpoint, card: ModelCard | None) -> tuple[ModelCard, State]:
        """Return the card and the weights; see `Source`."""
        where = str(checkpoint.origin.parent / "config.json")
        if card is not None:
            raise CheckpointError(f"{where} says how the model is built: leave out like=… (--like on the command line)")
        try:
            section, renaming, encoder = translate_config(checkpoint.config or {}, where)
        except (TypeError, ValueError, LookupError, AttributeError) as error:  # a value of another type
            raise CheckpointError(f"{where} is not one of smp ({type(error).__name__}: {error})") from error
        name = checkpoint.origin.parent.name
        dataset, classes = _classes(section.num_classes or 1, name)
        recipe = {
            "name": name,
            "model": as_given(section),
            "data": {
                "dataset": dataset,
                "mean": [round(255 * value, 6) for value in encoder.mean],
                "std": [round(255 * value, 6) for value in encoder.std],
            },
            "train": {"iterations": "auto"},
            "evaluation": {"mode": "whole", "average": "logits"},
        }
        weights = {key: value for key, value in checkpoint.tensors.items() if not key.startswith(_LABELS)}
        state = renaming.to_ours(weights, str(checkpoint.origin))
        return card_from_recipe(recipe, source=self.title, license="", classes=classes), state


def translate_config(config: Mapping[str, Any], where: str) -> tuple[ModelConfig, Renaming, SmpEncoder]:
    """Return the model section, the renaming of the tensors, and the encoder of a config.json.

    Raises
    ------
    UnsupportedError
        When vitrail does not compute the same.
    """
    kind = config.get(_CLASS)
    if kind not in MODELS:
        raise UnsupportedError(f"{where}: vitrail has no model like smp's {kind}; it has {', '.join(MODELS)}")
    record = MODELS[kind]
    settings = Settings({key: value for key, value in config.items() if key != _CLASS}, where)
    classes = settings.take("classes", 1)
    # a softmax changes neither the map nor what is softmaxed here; nor does the sigmoid of a single output
    settings.must_be("activation", None, "identity", "softmax2d", *(("sigmoid",) if classes == 1 else ()))
    settings.pass_over("aux_params")
    if record.encoder is None:
        encoder = encoder_of(settings, default_depth=record.depth, default_stride=record.stride)
    else:
        encoder = record.encoder(settings)
    decoder = record.translate(settings, encoder)
    settings.finish()
    section = model_config(
        record.segmentor,
        _reduced(encoder, record.reads(encoder.strides), where),
        classes,
        decoder.options,
        {"weight": 0.0} if SEGMENTORS[record.segmentor].auxiliary.weight else {},
        [[{"name": "cross_entropy"}]],
        where,
    )
    return section, combine(decoder.renaming, encoder.renaming), encoder


def _reduced(encoder: SmpEncoder, indices: list[int], where: str) -> Encoder:
    """Return the encoder with the maps that the decoder reads only."""
    if not indices:
        raise UnsupportedError(f"{where}: the encoder has no map that the decoder reads: encoder_depth is too small")
    own = encoder.encoder
    levels = own.options.get("out_indices")
    if levels is None:
        return own
    return replace(own, options={**own.options, "out_indices": [levels[index] for index in indices]})


def _classes(count: int, name: str) -> tuple[str, tuple[str, ...]]:
    """Return the dataset and the names of the classes, which the files do not say: numbered, unless a name tells."""
    if count == 1:
        return "folder", ("background", "foreground")
    for number, part, dataset in _DATASETS:
        if count == number and part in name:
            return dataset, label_set(dataset).classes
    return "folder", tuple(f"class {index}" for index in range(count))
