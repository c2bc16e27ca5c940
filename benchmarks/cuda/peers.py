"""The models of other toolboxes that do the work of a workload, each with its own losses."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.cuda.workload import Workload
from parity.references import build_mmseg, build_ssseg, mmseg_losses, ssseg_logits, without_dropout
from parity.toolboxes import Changes


class Peer(ABC):
    """A model of another toolbox.

    Attributes
    ----------
    toolbox, module : str
        Its name in tables, and the module that must be installed.
    searches : bool
        Whether the toolbox's own training script switches on cuDNN's search.
    note : str
        How its work differs.
    """

    toolbox: str
    module: str
    searches: bool = True
    note: str = ""

    def missing(self) -> str | None:
        """Return why it cannot be imported, if it cannot."""
        try:
            importlib.import_module(self.module)
        except ImportError as error:
            return f"{self.toolbox} is not installed: {error}"
        return None

    @abstractmethod
    def build(self, work: Workload) -> nn.Module:
        """Return the model without dropout, with fresh weights."""

    @abstractmethod
    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """Return the training objective for normalised images [B, 3, H, W] and targets [B, H, W], int64."""

    @abstractmethod
    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return logits [B, K, H, W] at the size of the images."""

    def compile(self, model: nn.Module) -> None:
        """Compile the model in place: whole, unless a toolbox cannot be compiled so."""
        model.compile(dynamic=False)


@dataclass
class Mmseg(Peer):
    """A config of MMSegmentation."""

    config: str
    changes: Changes = field(default_factory=dict)
    note: str = ""
    toolbox = "MMSegmentation"
    module = "mmseg"

    def missing(self) -> str | None:
        """See `Peer`; it is imported with its compiled operators replaced."""
        from parity.references import require_mmseg

        try:
            require_mmseg()
        except ImportError as error:
            return f"{self.toolbox} is not installed: {error}"
        return None

    def build(self, work: Workload) -> nn.Module:
        """See `Peer`."""
        return build_mmseg(self.config, self.changes)

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """See `Peer`."""
        return torch.stack([term.sum() for term in mmseg_losses(model, images, targets).values()]).sum()

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """See `Peer`."""
        size = tuple(images.shape[-2:])
        return model.encode_decode(images, [{"img_shape": size, "ori_shape": size}])

    def compile(self, model: nn.Module) -> None:
        """Compile encoder, neck and heads: the losses take objects that cannot be traced."""
        heads = [head for name in ("decode_head", "auxiliary_head") for head in _listed(getattr(model, name, None))]
        for part in (model.backbone, *_listed(getattr(model, "neck", None))):
            part.compile(dynamic=False)
        for head in heads:
            head.forward = torch.compile(head.forward, dynamic=False)


@dataclass
class Ssseg(Peer):
    """A configuration of SSSegmentation."""

    config: str
    changes: Changes = field(default_factory=dict)
    note: str = ""
    toolbox = "SSSegmentation"
    module = "ssseg"

    def missing(self) -> str | None:
        """See `Peer`; it is imported with mmcv's compiled operators replaced."""
        from parity.references import require_ssseg

        try:
            require_ssseg()
        except ImportError as error:
            return f"{self.toolbox} is not installed: {error}"
        return None

    def build(self, work: Workload) -> nn.Module:
        """See `Peer`."""
        return build_ssseg(self.config, self.changes)

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """See `Peer`."""
        from ssseg.modules.utils import SSSegInputStructure

        model.mode = "TRAIN"
        return model(SSSegInputStructure(images=images, mode="TRAIN", seg_targets=targets)).loss

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """See `Peer`."""
        logits = ssseg_logits(model, images)
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=model.align_corners)

    def compile(self, model: nn.Module) -> None:
        """Compile the encoder: its forward pass reads objects that cannot be traced."""
        model.backbone_net.compile(dynamic=False)
        for decoder in _listed(getattr(model, "decoder", None)):
            decoder.compile(dynamic=False)


@dataclass
class Transformers(Peer):
    """A model of transformers."""

    create: Callable[[Any, int], nn.Module]
    note: str = ""
    toolbox = "transformers"
    module = "transformers"
    searches = False

    def build(self, work: Workload) -> nn.Module:
        """See `Peer`."""
        return without_dropout(self.create(importlib.import_module("transformers"), work.classes))

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """See `Peer`."""
        return model(images, labels=targets).loss

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """See `Peer`."""
        return F.interpolate(model(images).logits, images.shape[-2:], mode="bilinear", align_corners=False)


@dataclass
class Smp(Peer):
    """A model of segmentation_models_pytorch, with PyTorch's cross entropy."""

    create: Callable[[Any, int], nn.Module]
    note: str = ""
    toolbox = "smp"
    module = "segmentation_models_pytorch"
    searches = False

    def build(self, work: Workload) -> nn.Module:
        """See `Peer`."""
        return without_dropout(self.create(importlib.import_module(self.module), work.classes))

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """See `Peer`."""
        return F.cross_entropy(model(images), targets, ignore_index=255)

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """See `Peer`."""
        return model(images)


@dataclass
class Torchvision(Peer):
    """A model of torchvision, with the losses of its reference script."""

    builder: str
    note: str = ""
    toolbox = "torchvision"
    module = "torchvision"

    def build(self, work: Workload) -> nn.Module:
        """See `Peer`."""
        from torchvision.models import segmentation

        build = getattr(segmentation, self.builder)
        return without_dropout(build(weights=None, weights_backbone=None, num_classes=work.classes, aux_loss=True))

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """See `Peer`."""
        outputs = model(images)
        return F.cross_entropy(outputs["out"], targets, ignore_index=255) + 0.4 * F.cross_entropy(
            outputs["aux"], targets, ignore_index=255
        )

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """See `Peer`."""
        return model(images)["out"]


def _listed(part: nn.Module | None) -> list[nn.Module]:
    """Return the modules of one that may be a list, or absent."""
    if part is None:
        return []
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def _classes(*heads: str) -> dict[str, Any]:
    return {f"{head}.num_classes": 150 for head in heads}


def _segformer(transformers: Any, classes: int) -> nn.Module:
    config = transformers.SegformerConfig(num_labels=classes)
    return transformers.SegformerForSemanticSegmentation(config)


def _upernet(transformers: Any, classes: int) -> nn.Module:
    encoder = transformers.SwinConfig(drop_path_rate=0.0, out_features=["stage1", "stage2", "stage3", "stage4"])
    config = transformers.UperNetConfig(
        backbone_config=encoder, hidden_size=512, auxiliary_channels=512, num_labels=classes, loss_ignore_index=255
    )
    return transformers.UperNetForSemanticSegmentation(config)


def _smp_segformer(smp: Any, classes: int) -> nn.Module:
    return smp.Segformer("mit_b0", encoder_weights=None, classes=classes)


def _smp_deeplabv3plus(smp: Any, classes: int) -> nn.Module:
    return smp.DeepLabV3Plus(
        "resnet50", encoder_weights=None, encoder_output_stride=8, decoder_channels=512, classes=classes
    )


WIDE = {"auxiliary_head.channels": 512}  # as SSSegmentation's and ours
PSPNET = Mmseg("pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512", WIDE), Ssseg("pspnet/pspnet_resnet50os8_ade20k")
FASTSCNN = (
    Mmseg("fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024"),
    Ssseg("fastscnn/depthwiseseparablefcn_fastscnn_cityscapes"),
)
PEERS: dict[str, tuple[Peer, ...]] = {
    "pspnet-train": PSPNET,
    "pspnet-infer": PSPNET,
    "fastscnn-train": FASTSCNN,
    "fastscnn-infer": FASTSCNN,
    "segformer-train": (
        Mmseg("segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512"),
        Ssseg("segformer/segformer_mitb0_ade20k"),
        Transformers(_segformer),
        Smp(_smp_segformer),
    ),
    "upernet-train": (
        Mmseg("swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512", WIDE),
        Ssseg("swin/upernet_swintiny_ade20k"),
        Transformers(_upernet),
    ),
    "deeplabv3plus-train": (
        Mmseg("deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512", WIDE),
        Ssseg("deeplabv3plus/deeplabv3plus_resnet50os8_ade20k"),
        Smp(_smp_deeplabv3plus, note="no auxiliary head"),
    ),
    "bisenetv2-train": (
        Mmseg(
            "bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024",
            _classes("decode_head", *(f"auxiliary_head.{i}" for i in range(4))),
        ),
        Ssseg("bisenetv2/fcn_bisenetv2_cityscapes", {"num_classes": 150}),
    ),
    "cgnet-train": (
        Mmseg(
            "cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680",
            {**_classes("decode_head"), "decode_head.loss_decode.class_weight": None},
        ),
        Ssseg("cgnet/fcn_cgnetm3n21_cityscapes", {"num_classes": 150, "losses.loss_cls.class_weight": None}),
    ),
    "icnet-train": (
        Mmseg(
            "icnet/icnet_r50-d8_4xb2-80k_cityscapes-832x832",
            _classes("decode_head", "auxiliary_head.0", "auxiliary_head.1"),
        ),
        Ssseg("icnet/icnet_resnet50os8_cityscapes", {"num_classes": 150}),
    ),
    "fcn-train": (Torchvision("fcn_resnet50"),),
}
