"""RegSeg's author's models as references; his code is no package: it lies in a folder that a variable names.

git clone https://github.com/RolandGao/RegSeg && export VITRAIL_REGSEG=$PWD/RegSeg
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
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from parity.case import Case
from parity.missing import MissingToolboxError
from parity.reference import Losses, Reference
from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.sources.regseg import RegSeg as Source
from vitrail.recipes import model_config_from_dict
from vitrail.segmentors import Segmentor, build_model

VARIABLE = "VITRAIL_REGSEG"
_CLASSES = 19
# What the module of the models imports for decoders and timings that are not compared.
_UNUSED = {
    "competitor_blocks": ("BiseNetDecoder", "SFNetDecoder", "FaPNDecoder"),
    "benchmark": ("benchmark_eval", "benchmark_train", "benchmark_memory"),
}


@cache
def models() -> ModuleType:
    """Return the module with his models.

    Raises
    ------
    MissingToolboxError
        Where the variable does not name a folder with his code.
    """
    folder = os.environ.get(VARIABLE, "")
    if not folder or not Path(folder, "blocks.py").is_file():
        raise MissingToolboxError(f"set {VARIABLE} to a clone of https://github.com/RolandGao/RegSeg")
    names = ("model", "blocks", *_UNUSED)
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    for name, unused in _UNUSED.items():
        module = sys.modules[name] = ModuleType(name)
        vars(module).update(dict.fromkeys(unused))
    sys.path.insert(0, folder)
    try:
        import model as found  # type: ignore[import-not-found,unused-ignore]
    finally:
        sys.path.remove(folder)
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(before)
    module = found
    return module


@dataclass(frozen=True)
class RegSeg(Reference):
    """A model of RegSeg's author.

    Attributes
    ----------
    name : str
        His name of encoder and decoder: "exp48_decoder26" or "exp53_decoder29".
    """

    name: str
    toolbox: ClassVar[str] = "regseg"
    package: ClassVar[str] = "regseg"
    encoder: str = "stem"

    def build(self) -> nn.Module:
        """Return the model."""
        model: nn.Module = models().RegSeg(self.name, _CLASSES)
        return model

    def settings(self) -> str:
        """Return what his function is called with."""
        return json.dumps({"name": self.name})

    def origin(self) -> str:
        """Return where his code is."""
        return "https://github.com/RolandGao/RegSeg"

    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """Return the logits, which his models resize themselves."""
        logits: Tensor = model(images)
        return logits

    def losses(self, model: nn.Module, images: Tensor, targets: Tensor) -> Losses:
        """Return the cross entropy, as `train_utils.get_loss_fun` makes it for his configurations."""
        total = F.cross_entropy(model(images), targets, ignore_index=255)
        return Losses(total, {"loss": total.item()})


def import_regseg(tensors: Mapping[str, Tensor]) -> Segmentor:
    """Return the model that the importer makes of a file with these tensors."""
    card, state = Source().translate(Checkpoint(tensors, {}, Path("reference.pt")), None)
    section: dict[str, Any] = {**card.recipe["model"], "losses": [{"name": "cross_entropy"}]}
    model = build_model(model_config_from_dict(section), len(card.classes))
    model.load_state_dict(state, strict=True)
    return model


REGSEG = [
    Case(
        f"authors/regseg_{name}",
        RegSeg(name),
        {"seg": "loss"},
        classes=_CLASSES,
        at_image_size=True,
        imports=import_regseg,
        heavy=name == "exp53_decoder29",
    )
    for name in ("exp48_decoder26", "exp53_decoder29")
]
