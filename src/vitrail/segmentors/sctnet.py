"""SCTNet: a light head on an encoder with conv-former blocks, supervised early too (Xu et al., AAAI 2024)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.errors import ModelError
from vitrail.layers import resize
from vitrail.losses import resized_loss
from vitrail.segmentors.ddrnet import PreNormDecoder
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segformer import SegFormerHead
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head, Segmentor

EARLY_WEIGHT = 0.4
_TERMS = 4  # that are aligned
_TEMPERATURE = 4.0  # of the softmax over positions
_EPS = 1e-6  # added to the standard deviation of a channel


class _Teacher:
    """Holds a teacher, so that it is no part of a head, nor of its files, and copies of the head share it."""

    def __init__(self, model: Segmentor) -> None:
        self.model = model

    def __deepcopy__(self, memo: dict[int, object]) -> _Teacher:
        return self


class Alignment(nn.Module):
    """Semantic information alignment (arXiv:2312.17071): four maps are compared with a SegFormer's.

    Two maps of the encoder are projected to the channels of the teacher's, and compared: backbone feature alignment.
    The map that the head reads is projected to what the teacher's head fuses, shifted and scaled to the mean and the
    standard deviation of its channels, and goes through the teacher's own last layers; the fused maps and the logits of
    both are compared: shared decoder head alignment.

    Parameters
    ----------
    maps : FeatureMaps
        The encoder's maps; the last three are aligned.
    widths : (int, int, int)
        Channels of the teacher's third and fourth map, and of what its head fuses.
    weights : sequence of float
        Of the terms: logits, fused map, fourth map, third map.

    Raises
    ------
    ModelError
        For another number of weights than four, for negative ones, and for fewer than three maps.
    """

    def __init__(self, maps: FeatureMaps, widths: tuple[int, int, int], weights: Sequence[float]) -> None:
        super().__init__()
        maps.check_index(-3, "alignment")
        if len(weights) != _TERMS or min(weights) < 0:
            raise ModelError(f"alignment of sctnet takes {_TERMS} weights of 0 or more, not {list(weights)}")
        self.widths = tuple(widths)
        self.weights = tuple(weights)
        self.projections = nn.ModuleList(
            nn.Conv2d(ours, theirs, 1) for ours, theirs in zip(maps.channels[-3:], widths, strict=True)
        )

    def forward(self, images: Tensor, features: Sequence[Tensor], teacher: Segmentor) -> Tensor:
        """Return the weighted sum of the terms for images [B, 3, H, W] and the encoder's maps of them."""
        head = teacher.head
        assert isinstance(head, SegFormerHead)  # as `SCTNetHead.set_teacher` has checked
        with torch.no_grad():
            maps = teacher.backbone(images)
            joined = head.joined(maps)
            fused = head.fuse(joined)
            theirs = [head.classifier(fused), fused, maps[3], maps[2]]
        middle, coarse, decoded = (project(each) for project, each in zip(self.projections, features[-3:], strict=True))
        shared = head.fuse(_like(resize(decoded, joined.shape[-2:]), joined))
        ours = [head.classifier(shared), shared, coarse, middle]
        terms = [_divergence(one, other) for one, other in zip(ours, theirs, strict=True)]
        return torch.stack([weight * term for weight, term in zip(self.weights, terms, strict=True)]).sum()


def _precise(x: Tensor) -> Tensor:
    """Return a tensor in float32, or in float64 where it is."""
    return x if x.dtype.itemsize > 2 else x.float()


def _like(x: Tensor, other: Tensor) -> Tensor:
    """Return a map [B, C, h, w] with the mean and the standard deviation of each channel of another one."""
    (std, mean), (other_std, other_mean) = (
        torch.std_mean(_precise(each), dim=(0, 2, 3), keepdim=True) for each in (x, other)
    )
    return ((x - mean) / (std + _EPS) * other_std + other_mean).to(x.dtype)


def _divergence(ours: Tensor, theirs: Tensor) -> Tensor:
    """Channel-wise distillation (Shu et al., ICCV 2021, arXiv:2011.13256): the mean divergence of maps [B, C, h, w].

    Each channel is a distribution over positions, a softmax with a temperature.
    """
    ours, theirs = (
        (_precise(x).flatten(0, 1).flatten(1) / _TEMPERATURE).log_softmax(dim=1)
        for x in (resize(ours, theirs.shape[-2:]), theirs)
    )
    return _TEMPERATURE**2 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


@register_segmentor("sctnet", backbone="sctnet_s")
class SCTNetHead(Head):
    """SCTNet (Xu, Wu, Yu, Chu, Sang and Gao, AAAI 2024, arXiv:2312.17071).

    A convolution and a classifier on the last map of the encoder, and in training the same on the first map. With
    `alignment`, training also compares four maps with those of a SegFormer, the teacher, which predictions do without;
    see `Alignment`.

    Parameters
    ----------
    maps : FeatureMaps
        The encoder's maps; the head reads the last, the early one the first.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolution: 128 for SCTNet-S, 256 for SCTNet-B.
    early_channels : int
        Channels of the early convolution: 64 for SCTNet-S, 128 for SCTNet-B.
    early_weight : float
        Weight of the loss of the early logits; 0 leaves that classifier out.
    alignment : sequence of four float, optional
        Weights of the divergences of logits, of the fused map, and of the encoder's last and last but one map:
        3, 15, 15 and 15 in the paper. Training then needs a teacher: `train.teacher` of a recipe, or `set_teacher`.
    teacher_channels : (int, int, int)
        Channels of the teacher's third and fourth map, and of the maps that its head joins, together: 320, 512 and 1024
        for SegFormer on MiT-B1 to B5 as in MMSegmentation.

    Raises
    ------
    ModelError
        For another number of weights than four, for negative ones, and for fewer than three maps to align.
    """

    training_options = ("alignment",)

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 128,
        early_channels: int = 64,
        early_weight: float = EARLY_WEIGHT,
        alignment: Sequence[float] | None = None,
        teacher_channels: tuple[int, int, int] = (320, 512, 1024),
    ) -> None:
        super().__init__(num_classes)
        self.decoder = PreNormDecoder(maps.channels[-1], channels, num_classes, bias=True)
        self.early = PreNormDecoder(maps.channels[0], early_channels, num_classes, bias=True) if early_weight else None
        self.early_weight = early_weight
        self.alignment = None if alignment is None else Alignment(maps, teacher_channels, alignment)
        self._teacher: _Teacher | None = None

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the last map into logits [B, K, h, w]."""
        return self.decoder(features[-1])

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the loss `seg`, and the weighted one of the early logits, `early`."""
        losses = super().losses(features, targets, criterion)
        if self.early is not None:
            early = resized_loss(criterion, self.early(features[0]), targets, align_corners=self.align_corners)
            losses["early"] = self.early_weight * early
        return losses

    def teacher_losses(self, images: Tensor, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the loss `alignment`, if there is one.

        Raises
        ------
        ModelError
            When there is no teacher to align with.
        """
        if self.alignment is None:
            return {}
        if self._teacher is None:
            raise ModelError(
                "sctnet with model.options.alignment needs a teacher to align with: give a SegFormer that was trained "
                "on the same classes as train.teacher=…, or set model.options.alignment=null to train without"
            )
        teacher = self._teacher.model
        if next(teacher.parameters()).device != images.device:
            teacher.to(images.device)
        return {"alignment": self.alignment(images, features, teacher)}

    def set_teacher(self, teacher: Segmentor) -> None:
        """Receive the SegFormer to align with, which is frozen; see `Head`.

        Raises
        ------
        ModelError
            For a head without `alignment`, and for a teacher that is no SegFormer of the head's number of classes with
            the channels of `teacher_channels`.
        """
        if self.alignment is None:
            raise ModelError(
                "sctnet aligns with a teacher when it has weights for that: set model.options.alignment=[3,15,15,15], "
                "or leave train.teacher out"
            )
        head = teacher.head
        channels = teacher.backbone.channels
        widths = (*channels[2:], head.fuse.conv.in_channels) if isinstance(head, SegFormerHead) else None
        if widths != self.alignment.widths or teacher.num_classes != self.num_classes:
            kind = type(head).__name__.removesuffix("Head")
            raise ModelError(
                f"sctnet aligns with a SegFormer of {self.num_classes} classes that has {list(self.alignment.widths)} "
                f"channels (model.options.teacher_channels); this teacher is a {kind} of {teacher.num_classes} classes"
                + (f" that has {list(widths)}" if widths else "")
            )
        self._teacher = _Teacher(teacher.requires_grad_(False).eval())
