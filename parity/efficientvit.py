"""EfficientViT's authors' models as references; their code is no package: it lies in a folder that a variable names.

git clone https://github.com/mit-han-lab/efficientvit && export VITRAIL_EFFICIENTVIT=$PWD/efficientvit
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from parity.case import Case
from parity.missing import MissingToolboxError
from parity.reference import Losses, Reference
from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.sources.efficientvit import EfficientViT as Source
from vitrail.recipes import model_config_from_dict
from vitrail.segmentors import Segmentor, build_model

VARIABLE = "VITRAIL_EFFICIENTVIT"
_MODELS = "efficientvit.models.efficientvit"
# Modules of their trainer and of other models, which need packages that the segmentation models do not.
_UNUSED = ("efficientvit.apps", "efficientvit.apps.trainer", "efficientvit.apps.trainer.run_config")
_SIZES = ((64, 64), (64, 96))


@cache
def models() -> ModuleType:
    """Return the module with their segmentation models.

    Raises
    ------
    MissingToolboxError
        Where the variable does not name a folder with their code.
    """
    folder = os.environ.get(VARIABLE, "")
    package = Path(folder, *_MODELS.split("."))
    if not folder or not package.is_dir():
        raise MissingToolboxError(f"set {VARIABLE} to a clone of https://github.com/mit-han-lab/efficientvit")
    for name in _UNUSED:
        module = sys.modules[name] = ModuleType(name)
        module.Scheduler = object  # type: ignore[attr-defined]
    bare = sys.modules[_MODELS] = ModuleType(_MODELS)
    bare.__path__ = [str(package)]
    sys.path.insert(0, folder)
    try:
        from efficientvit.models.efficientvit import seg  # type: ignore[import-not-found,unused-ignore]
    finally:
        sys.path.remove(folder)
    found: ModuleType = seg
    return found


@dataclass(frozen=True)
class EfficientViT(Reference):
    """A segmentation model of EfficientViT's authors.

    Attributes
    ----------
    size : str
        Of the encoder: "b0" to "l2".
    dataset : str
        "cityscapes" or "ade20k".
    """

    size: str
    dataset: str
    toolbox: ClassVar[str] = "efficientvit"
    package: ClassVar[str] = "efficientvit"

    def build(self) -> nn.Module:
        """Return the model, with the epsilon of its batch norms that its file is published for."""
        model: nn.Module = getattr(models(), f"efficientvit_seg_{self.size}")(dataset=self.dataset)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-7 if self.size.startswith("l") else 1e-5
        return model

    def settings(self) -> str:
        """Return what their functions are called with."""
        return json.dumps({"size": self.size, "dataset": self.dataset})

    def origin(self) -> str:
        """Return where their code is."""
        return "https://github.com/mit-han-lab/efficientvit"

    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """Return the logits as their evaluation resizes them."""
        return F.interpolate(model(images), images.shape[-2:], mode="bicubic", align_corners=False)

    def losses(self, model: nn.Module, images: Tensor, targets: Tensor) -> Losses:
        """Return the cross entropy of the logits, resized as ours are: their losses are not published."""
        logits = F.interpolate(model(images), images.shape[-2:], mode="bilinear", align_corners=False)
        total = F.cross_entropy(logits, targets, ignore_index=255)
        return Losses(total, {"loss": total.item()})


def import_efficientvit(tensors: Mapping[str, Tensor]) -> Segmentor:
    """Return the model that the importer makes of a file with these tensors."""
    card, state = Source().translate(Checkpoint(tensors, {}, Path("reference.pt")), None)
    model = build_model(model_config_from_dict(card.recipe["model"]), len(card.classes))
    model.load_state_dict(state, strict=True)
    return model


def _case(size: str, dataset: str, classes: int) -> Case:
    return Case(
        f"authors/efficientvit_{size}_{dataset}",
        EfficientViT(size, dataset),
        # timm computes the attention in float32, which the gradient of the deepest encoder shows.
        {} if size == "b3" else {"seg": "loss"},
        classes=classes,
        sizes=_SIZES,
        trained=_SIZES[-1],
        at_image_size=True,
        imports=import_efficientvit,
        heavy=size != "b0",
    )


EFFICIENTVIT = [
    *(_case(size, "cityscapes", 19) for size in ("b0", "b1", "b2", "b3", "l1", "l2")),
    *(_case(size, "ade20k", 150) for size in ("b1", "b2", "b3", "l1", "l2")),
]
