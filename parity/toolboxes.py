"""Models of MMSegmentation, SSSegmentation and torchvision as references."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parity.reference import Losses, Reference
from parity.references import (
    build_mmseg,
    build_ssseg,
    mmseg_config,
    mmseg_losses,
    ssseg_config,
    ssseg_logits,
    ssseg_losses,
    without_dropout,
)

Changes = Mapping[str, Any]
# What vitrail's importer reads of a config: the rest describes data loading and schedules.
_READ = ("dataset_type", "crop_size", "train_cfg", "test_pipeline")


@dataclass(frozen=True)
class Mmseg(Reference):
    """A config of MMSegmentation.

    Attributes
    ----------
    config : str
        Its path below the folder of configs, or the name of the published config.
    changes : mapping
        Values of dotted keys of its model, with which it is also imported.
    hidden : mapping
        Further values, of which the importer does not know: it takes the encoder for the published one.
    dropout : bool
        Whether the model is built with its dropout, for training, instead of without, for comparisons.
    """

    toolbox: ClassVar[str] = "mmseg"
    package: ClassVar[str] = "mmsegmentation"
    config: str
    changes: Changes = field(default_factory=dict)
    hidden: Changes = field(default_factory=dict)
    dropout: bool = False

    def build(self) -> nn.Module:
        """See `Reference`."""
        return build_mmseg(self.config, {**self.changes, **self.hidden}, dropout=self.dropout)

    def settings(self) -> str:
        """Return the text of the config, as MMEngine writes it into checkpoints."""
        config = mmseg_config(self.config, self.changes)
        return "\n".join(f"{key} = {config[key]!r}" for key in ("model", *_READ) if key in config)

    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """See `Reference`."""
        if at_image_size:
            size = tuple(images.shape[-2:])
            return model.encode_decode(images, [{"img_shape": size, "ori_shape": size}])
        logits = model(images, mode="tensor")
        return logits[0] if isinstance(logits, tuple) else logits  # some return more, which only their losses read

    def losses(self, model: nn.Module, images: Tensor, targets: Tensor) -> Losses:
        """See `Reference`."""
        terms = mmseg_losses(model, images, targets, self.edges(targets))
        total = torch.stack([term.sum() for term in terms.values()]).sum()
        return Losses(total, {name: term.item() for name, term in terms.items()})

    def edges(self, targets: Tensor) -> Tensor | None:
        """Return the edges [B, H, W] that the data pipeline adds, if any."""
        return None


class MmsegWithEdges(Mmseg):
    """PIDNet, whose data pipeline also extracts the edges between classes."""

    def edges(self, targets: Tensor) -> Tensor:
        """Return the edges."""
        from mmseg.datasets.transforms import GenerateEdge

        extract = GenerateEdge(edge_width=4)
        shape = tuple(targets.shape[-2:])
        maps = [extract({"img_shape": shape, "gt_seg_map": target.numpy()})["gt_edge_map"] for target in targets]
        return torch.stack([torch.from_numpy(each) for each in maps]).long()


class MmsegMaskFormer(Mmseg):
    """MaskFormer, whose matching costs multiply float64 predictions with masks that are always float32."""

    def training(self, model: nn.Module) -> AbstractContextManager[Any]:
        """See `Reference`."""
        einsum = torch.einsum
        return replaced("einsum", lambda equation, *terms: einsum(equation, *(term.to(terms[0]) for term in terms)))


def in_own_precision(model: nn.Module) -> AbstractContextManager[Any]:
    """Return the context in which a model that casts to float32 casts to the type of its parameters."""
    dtype = next(model.parameters()).dtype
    return mock.patch.object(Tensor, "float", lambda tensor: tensor.to(dtype))


class MmsegMask2Former(Mmseg):
    """Mask2Former, which casts the masks of targets to float32."""

    def training(self, model: nn.Module) -> AbstractContextManager[Any]:
        """See `Reference`."""
        return in_own_precision(model)


class MmsegSAN(MmsegMask2Former):
    """SAN, whose preprocessor pads the images of a prediction with zeros."""

    encoder = "image_encoder"

    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """See `Reference`."""
        height, width = images.shape[-2:]
        divisor = model.data_preprocessor.test_cfg["size_divisor"]
        padded = F.pad(images, (0, -width % divisor, 0, -height % divisor))
        return super().logits(model, padded, at_image_size=at_image_size)[..., :height, :width]


class MmsegSegNeXt(Mmseg):
    """SegNeXt, which begins its factorization with other random numbers in every prediction.

    Here they are those of a seeded generator, the same for every image, with which vitrail's begins.
    """

    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """See `Reference`."""
        draw = torch.rand

        def rand(size: tuple[int, ...]) -> Tensor:
            return draw(size[1:], generator=torch.Generator().manual_seed(0)).expand(size)

        with replaced("rand", rand):
            return super().logits(model, images, at_image_size=at_image_size)


SMALL_WINDOW, SMALL_STRIDES = 5, (2, 3)


class MmsegSmallWindows(Mmseg):
    """LR-ASPP with smaller windows than its head has, which do not fit in small images."""

    def build(self) -> nn.Module:
        """See `Reference`."""
        model = super().build()
        model.decode_head.image_pool[0] = nn.AvgPool2d(SMALL_WINDOW, SMALL_STRIDES)
        return model


@dataclass(frozen=True)
class Ssseg(Reference):
    """A configuration of SSSegmentation; for the attributes see `Mmseg`."""

    toolbox: ClassVar[str] = "ssseg"
    package: ClassVar[str] = "SSSegmentation"
    encoder = "backbone_net"
    config: str
    changes: Changes = field(default_factory=dict)
    hidden: Changes = field(default_factory=dict)
    dropout: bool = False

    def build(self) -> nn.Module:
        """See `Reference`."""
        return build_ssseg(self.config, {**self.changes, **self.hidden}, dropout=self.dropout)

    def settings(self) -> str:
        """Return the configuration as JSON."""
        return json.dumps(ssseg_config(self.config, self.changes), separators=(",", ":"))

    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """See `Reference`."""
        logits = ssseg_logits(model, images)
        if not at_image_size:
            return logits
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=model.align_corners)

    def losses(self, model: nn.Module, images: Tensor, targets: Tensor) -> Losses:
        """See `Reference`."""
        total, terms = ssseg_losses(model, images, targets, **self.annotations(targets))
        return Losses(total, {name: value for name, value in terms.items() if name != "loss_total"})

    def annotations(self, targets: Tensor) -> dict[str, Tensor]:
        """Return what else the data pipeline gives to the losses."""
        return {}


class SssegWithEdges(Ssseg):
    """CE2P, whose data pipeline also extracts the edges between classes."""

    def annotations(self, targets: Tensor) -> dict[str, Tensor]:
        """Return the edges."""
        return {"edge_targets": ssseg_edges(targets)}


class SssegMaskFormer(Ssseg):
    """MaskFormer, whose losses by default ignore the value that its datasets give to ignored pixels: not 255."""

    def build(self) -> nn.Module:
        """See `Reference`."""
        model = super().build()
        model.criterion.formattargets = functools.partial(model.criterion.formattargets, ignore_index=255)
        return model


class SssegMask2Former(SssegMaskFormer):
    """Mask2Former, which casts the encoder's maps to float32."""

    def training(self, model: nn.Module) -> AbstractContextManager[Any]:
        """See `Reference`."""
        return in_own_precision(model)


class SssegSmallWindows(Ssseg):
    """LR-ASPP with smaller windows; see `MmsegSmallWindows`."""

    def build(self) -> nn.Module:
        """See `Reference`."""
        model = super().build()
        model.image_pool[0] = nn.AvgPool2d(SMALL_WINDOW, SMALL_STRIDES)
        return model


class SssegUpsampled(Ssseg):
    """FastFCN, which holds the model of another method without telling it that it is trained."""

    def build(self) -> nn.Module:
        """See `Reference`."""
        model = super().build()
        object.__setattr__(model, "backbone_net", model.segmentor.backbone_net)  # where others have it, no submodule
        return model

    def losses(self, model: nn.Module, images: Tensor, targets: Tensor) -> Losses:
        """See `Reference`."""
        model.segmentor.mode = "TRAIN"
        return super().losses(model, images, targets)


class SssegPoints(Ssseg):
    """PointRend, whose layers over points [B, C, N] need another norm than BatchNorm2d, which SyncBatchNorm becomes."""

    def build(self) -> nn.Module:
        """See `Reference`."""
        model = super().build()
        for layer in model.fcs:
            layer[1] = nn.BatchNorm1d(layer[1].num_features)
        return model


@dataclass(frozen=True)
class SssegCascade(Ssseg):
    """MCIBI++, whose memory is updated in training and read again in prediction, as its configuration says."""

    def build(self) -> nn.Module:
        """See `Reference`."""
        model = super().build()
        model.forward = functools.partial(model.forward, learning_rate=0.01, epoch=1)
        return model

    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """See `Reference`."""
        from ssseg.modules.utils import SSSegInputStructure

        logits = super().logits(model, images, at_image_size=at_image_size)
        for _ in range(model.cfg["inference"]["tta"].get("cascade", {}).get("times", 1) - 1):
            meta = SSSegInputStructure(images=images, mode="TEST")
            logits = model(meta, memory_gather_logits=logits).seg_logits
        return logits


@dataclass(frozen=True)
class SssegMemory(Ssseg):
    """MCIBI in an epoch in which it updates and supervises its memory.

    Attributes
    ----------
    lr_factor : float
        The current learning rate, which the update of the memory follows, as a share of the first one.
    epoch : int
        From 1.
    """

    lr_factor: float = 1.0
    epoch: int = 2

    def build(self) -> nn.Module:
        """See `Reference`."""
        model = super().build()
        rate = ssseg_config(self.config, self.changes)["scheduler"]["optimizer"]["lr"] * self.lr_factor
        model.forward = functools.partial(model.forward, learning_rate=rate, epoch=self.epoch)
        return model

    def training(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Give the backward pass a copy of what the model changes in place before that: its memory."""
        memory, product = model.memory_module.memory, torch.matmul

        def matmul(a: Tensor, b: Tensor) -> Tensor:
            return product(a, b.clone() if b.shape == memory.shape[::2] else b)

        return replaced("matmul", matmul)


@contextmanager
def replaced(name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Replace a function of torch."""
    original = getattr(torch, name)
    setattr(torch, name, function)
    try:
        yield
    finally:
        setattr(torch, name, original)


def ssseg_edges(targets: Tensor) -> Tensor:
    """Return the edges [B, H, W] that SSSegmentation's data pipeline makes of targets."""
    from ssseg.modules.datasets.pipelines.transforms import EdgeExtractor

    extract = EdgeExtractor(edge_width=3, ignore_index=255)
    edges = [torch.from_numpy(extract({"seg_target": target.numpy()})["edge_target"]) for target in targets]
    return torch.stack(edges).long()


@dataclass(frozen=True)
class Torchvision(Reference):
    """A segmentation model of torchvision, trained as its reference script does but for the weight of the second loss.

    Attributes
    ----------
    builder : str
        A function of `torchvision.models.segmentation`.
    classes : int
        K, the number of classes.
    """

    toolbox: ClassVar[str] = "torchvision"
    package: ClassVar[str] = "torchvision"
    builder: str
    classes: int

    def build(self) -> nn.Module:
        """See `Reference`."""
        from torchvision.models import segmentation

        build = getattr(segmentation, self.builder)
        return without_dropout(build(weights=None, weights_backbone=None, num_classes=self.classes, aux_loss=True))

    def settings(self) -> str:
        """Return the name of the builder: nothing else says how the model is built."""
        return self.builder

    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """Return [B, K, H, W]; torchvision has no other."""
        assert at_image_size
        return model(images)["out"]

    def losses(self, model: nn.Module, images: Tensor, targets: Tensor) -> Losses:
        """Return two cross-entropies; the second weighs 0.4, as elsewhere, instead of 0.5."""
        outputs = model(images)
        terms = {
            "out": F.cross_entropy(outputs["out"], targets, ignore_index=255),
            "aux": 0.4 * F.cross_entropy(outputs["aux"], targets, ignore_index=255),
        }
        return Losses(torch.stack(list(terms.values())).sum(), {name: term.item() for name, term in terms.items()})
