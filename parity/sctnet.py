"""SCTNet's authors' models as references; their code is a changed MMSegmentation, in a folder that a variable names.

git clone https://github.com/xzz777/SCTNet && export VITRAIL_SCTNET=$PWD/SCTNet
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parity.case import Case
from parity.missing import MissingToolboxError, require
from parity.reference import Losses, Reference
from parity.references import require_mmseg
from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.index import index
from vitrail.checkpoints.sources.sctnet import SCTNet as Source
from vitrail.recipes import model_config_from_dict
from vitrail.segmentors import Segmentor, build_model

VARIABLE = "VITRAIL_SCTNET"
_PACKAGE = "sctnet_authors"  # what their package `mmseg` is called here, beside the MMSegmentation that is installed
_CHANNELS = {"s": 32, "b": 64}
_CLASSES = {"cityscapes": 19, "ade20k": 150, "coco_stuff_10k_171": 171}


class _Registry:
    """Stands for a registry of the old MMSegmentation: keeps classes by their names."""

    def __init__(self) -> None:
        self.kinds: dict[str, Any] = {}

    def register_module(self) -> Callable[[Any], Any]:
        """Return a decorator that keeps a class."""
        return lambda kind: self.kinds.setdefault(kind.__name__, kind)

    def build(self, settings: Mapping[str, Any]) -> Any:
        """Build what settings name."""
        return self.kinds[settings["type"]](**{key: value for key, value in settings.items() if key != "type"})


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    return module


def _unused(*_: Any, **__: Any) -> None:
    """Stand for a function whose result nothing reads."""


def _same(*_: Any, **__: Any) -> Callable[[Any], Any]:
    return lambda function: function


@functools.cache
def _stand_ins() -> dict[str, ModuleType]:
    """Return the modules of old packages that their code imports, by name, as those of today provide them."""
    require_mmseg()  # whose preparations have to come before the first import of mmcv
    cnn = require("mmcv.cnn", "mmcv")
    for name in ("drop", "transformer"):  # among stand-ins they would be imported in part
        require(f"mmcv.cnn.bricks.{name}", "mmcv")
    model = require("mmengine.model", "mmengine")
    bases = {name: getattr(model, name) for name in ("BaseModule", "ModuleList", "Sequential")}
    initialisers = ("constant_init", "kaiming_init", "trunc_normal_init", "normal_init")
    timm = require("timm.layers", "timm")

    def resize(input: Tensor, size: Any = None, mode: str = "nearest", align_corners: bool | None = None) -> Tensor:
        return F.interpolate(input, size, mode=mode, align_corners=align_corners)

    registry = _Registry()
    kinds = dict.fromkeys(("BACKBONES", "HEADS", "LOSSES", "SEGMENTORS"), registry)
    core, ops = _module("mmseg.core", build_pixel_sampler=_unused), _module("mmseg.ops", resize=resize)
    modules = [
        _module("mmcv", cnn=cnn),
        _module("mmcv.runner", auto_fp16=_same, force_fp32=_same, **bases),
        _module("mmcv.runner.base_module", BaseModule=bases["BaseModule"]),
        _module("mmcv.utils", to_2tuple=timm.to_2tuple),
        _module("mmcv.cnn.utils.weight_init", **dict.fromkeys(initialisers, _unused)),
        _module("timm.models.layers", DropPath=timm.DropPath),
        _module("mmseg", core=core, ops=ops, digit_version=lambda text: text, mmcv_version="9"),
        core,
        ops,
        _module(f"{_PACKAGE}.models.builder", build_loss=registry.build, **kinds),
        _module(f"{_PACKAGE}.models.losses.accuracy", accuracy=_unused),
    ]
    return {module.__name__: module for module in modules}


@contextlib.contextmanager
def _their_packages() -> Iterator[None]:
    """Let their code import what it is written for."""
    before = {name: sys.modules.get(name) for name in _stand_ins()}
    sys.modules.update(_stand_ins())
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


@functools.cache
def parts() -> _Registry:
    """Return their encoder, heads and losses by name.

    Raises
    ------
    MissingToolboxError
        Where the variable does not name a folder with their code.
    """
    folder = Path(os.environ.get(VARIABLE, ""), "mmseg")
    if not os.environ.get(VARIABLE) or not (folder / "models" / "backbones" / "sctnet.py").is_file():
        raise MissingToolboxError(f"set {VARIABLE} to a clone of https://github.com/xzz777/SCTNet")
    for path in ("", "models", "models/backbones", "models/decode_heads", "models/losses", "models/utils"):
        name = ".".join([_PACKAGE, *path.split("/")]).rstrip(".")
        sys.modules[name] = _module(name, __path__=[str(folder / path)])
    with _their_packages():
        losses = sys.modules[f"{_PACKAGE}.models.losses"]
        losses.accuracy = _unused  # type: ignore[attr-defined]
        utils = sys.modules[f"{_PACKAGE}.models.utils"]
        embed, shapes = (importlib.import_module(f"{utils.__name__}.{name}") for name in ("embed", "shape_convert"))
        vars(utils).update({"PatchEmbed": embed.PatchEmbed, **vars(shapes)})
        for name in (
            *("losses.cross_entropy_loss", "losses.alignment_loss", "backbones.sctnet"),
            *(f"decode_heads.{head}" for head in ("sct_head", "sct_head_auxiliary", "vit_guidance_head")),
        ):
            module = importlib.import_module(f"{_PACKAGE}.models.{name}")
    registry: _Registry = module.HEADS
    return registry


class _Model(nn.Module):
    """Encoder, head and early head, as their `EncoderDecoder_Distill` holds them."""

    def __init__(self, size: str, classes: int, early: bool) -> None:
        super().__init__()
        channels = _CHANNELS[size]
        build = parts().build
        no_weights = SimpleNamespace(type="")  # asked for its type, the encoder then draws random weights
        self.backbone = build(
            {"type": "SCTNet", "base_channels": channels, "spp_channels": 2 * channels, "init_cfg": no_weights}
        )
        shared = {"num_classes": classes, "dropout_ratio": 0.0, "align_corners": False}

        def head(kind: str, width: int, index: int, weight: float) -> nn.Module:
            loss = {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": weight}
            widths = {"in_channels": width, "channels": width, "in_index": index}
            built: nn.Module = build({"type": kind, "loss_decode": loss, **widths, **shared})
            return built

        self.decode_head = head("SCTHead", 4 * channels, 0, 1.0)
        self.auxiliary_head = nn.ModuleList([head("AU_SCTHead", 2 * channels, 1, 0.4)] if early else [])


def _plain_norms(model: nn.Module) -> nn.Module:
    """Replace synchronised batch norms, which a CPU cannot train, by plain ones, and leave out skipped paths."""
    for name, module in model.named_children():
        if isinstance(module, nn.SyncBatchNorm):
            setattr(model, name, nn.BatchNorm2d(module.num_features, eps=module.eps, momentum=module.momentum))
        elif type(module).__name__ == "DropPath":
            setattr(model, name, nn.Identity())
        else:
            _plain_norms(module)
    return model


@dataclass(frozen=True)
class SCTNet(Reference):
    """A model of SCTNet's authors without the transformer that it is trained to follow.

    Attributes
    ----------
    size : str
        "s" or "b".
    dataset : str
        Whose classes it has: "cityscapes", "ade20k" or "coco_stuff_10k_171".
    early : bool
        Whether it has the layers that are for training alone.
    """

    size: str
    dataset: str
    early: bool = True
    toolbox: ClassVar[str] = "sctnet"
    package: ClassVar[str] = "sctnet"

    def build(self) -> nn.Module:
        """Return the model."""
        with _their_packages():
            return _plain_norms(_Model(self.size, _CLASSES[self.dataset], self.early))

    def settings(self) -> str:
        """Return which model it is."""
        return json.dumps({"size": self.size, "dataset": self.dataset})

    def origin(self) -> str:
        """Return where their code is."""
        return "https://github.com/xzz777/SCTNet"

    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """Return the logits."""
        logits: Tensor = model.decode_head.forward_test(model.backbone(images), None, None)  # type: ignore[union-attr,operator]
        size = images.shape[-2:]
        return F.interpolate(logits, size, mode="bilinear", align_corners=False) if at_image_size else logits

    def losses(self, model: nn.Module, images: Tensor, targets: Tensor) -> Losses:
        """Return the losses of the logits and of the early ones."""
        assert isinstance(model, _Model)
        maps, labels = model.backbone(images), targets[:, None]
        found, _, _ = model.decode_head.forward_train(maps, None, labels, None)
        early = model.auxiliary_head[0].forward_train(maps, None, None, None, labels, None)
        terms = {"loss_ce": found["loss_ce"], "early": early["loss_ce"]}
        return Losses(torch.stack(list(terms.values())).sum(), {name: term.item() for name, term in terms.items()})


def build_alignment(size: str, classes: int) -> nn.Module:
    """Return the module in which their models meet the SegFormer that they follow, which it holds."""
    channels = _CHANNELS[size]
    settings = {
        "type": "VitGuidanceHead",
        "init_cfg": SimpleNamespace(type=""),
        "in_channels": 4 * channels,
        "channels": 4 * channels,
        "base_channels": channels,
        "in_index": 2,
        "num_classes": classes,
        "loss_decode": {"type": "AlignmentLoss", "loss_weight": [3, 15, 15, 15]},
    }
    with _their_packages():
        return _plain_norms(parts().build(settings))


def alignment_loss(model: nn.Module, images: Tensor, features: Sequence[Tensor]) -> Tensor:
    """Return the loss of that module for images and the encoder's maps of stride 16, 32 and 8."""
    middle, coarse, decoded = features
    losses = model.forward_train([None, None, [images, [decoded, coarse, middle]]], None, None)  # type: ignore[operator]
    loss: Tensor = losses["loss_guidance"]
    return loss


def import_sctnet(size: str, dataset: str, tensors: Mapping[str, Tensor]) -> Segmentor:
    """Return the model that the importer makes of a file with these tensors, as a published one for the dataset."""
    wanted = ("sctnet", f"sctnet_{size}", dataset)
    entry = next(each for each in index().values() if (each.project, each.backbone, each.dataset) == wanted)
    card, state = Source().translate(Checkpoint(tensors, {}, Path("reference.pth")), entry.card())
    model = build_model(model_config_from_dict(card.recipe["model"]), len(card.classes))
    model.load_state_dict(state, strict=True)
    return model


SCTNETS = [
    Case(
        f"authors/sctnet_{size}_{dataset}",
        SCTNet(size, dataset),
        {"seg": "loss_ce", "early": "early"},
        classes=_CLASSES[dataset],
        imports=functools.partial(import_sctnet, size, dataset),
        heavy=size == "b",
    )
    for size, dataset in (
        *(("s", "cityscapes"), ("b", "cityscapes"), ("s", "ade20k"), ("b", "ade20k"), ("b", "coco_stuff_10k_171")),
    )
]
