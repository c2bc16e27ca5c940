"""ICNet: a cascade of branches at 1, 1/2 and 1/4 resolution, the deepest at the lowest (Zhao et al., ECCV 2018)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from timm.layers import ConvNormAct
from timm.models.resnet import ResNet
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones import Backbone
from vitrail.errors import ModelError
from vitrail.layers import PyramidPooling, resize
from vitrail.segmentors.extended_backbone import ExtendedBackbone
from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head


class ICNetEncoder(ExtendedBackbone):
    """Three branches: strided convolutions at full resolution, a ResNet's first half at 1/2, its second half at 1/4.

    Parameters
    ----------
    backbone : Backbone
        A ResNet of timm's.
    branch_channels : (int, int, int)
        Channels of the maps of the three branches, finest first.
    light_channels : int
        Channels inside the branch at full resolution.
    pool_channels : int
        Channels of the pyramid pooling at the end of the ResNet.
    pool_sizes : sequence of int
        Sides of the grids that the pyramid pooling averages over.
    align_corners : bool
        How images and maps are resized.

    Raises
    ------
    ModelError
        When the backbone is not a ResNet with four stages, which run in two halves.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        branch_channels: tuple[int, int, int],
        light_channels: int,
        pool_channels: int,
        pool_sizes: Sequence[int],
        align_corners: bool,
    ) -> None:
        super().__init__(backbone)
        net: Any = getattr(backbone, "encoder", None)
        if not isinstance(net, ResNet) or len(backbone.channels) != 4:
            raise ModelError("icnet runs the stages of its backbone separately and needs a ResNet, such as 'resnet50c'")
        for pool in net.maxpool.modules():
            if isinstance(pool, nn.MaxPool2d):
                pool.ceil_mode = True  # as in the published weights: keeps the last row and column
        in_channels = next(net.conv1.parameters()).shape[1]
        full, half, quarter = branch_channels
        widths = (in_channels, light_channels, light_channels, full)
        self.branch_full = nn.Sequential(*(ConvNormAct(a, b, 3, stride=2) for a, b in itertools.pairwise(widths)))
        self.branch_half = ConvNormAct(backbone.channels[1], half, 1)
        self.pyramid = PyramidPooling(backbone.channels[3], pool_channels, pool_sizes, align_corners=align_corners)
        self.fuse = ConvNormAct(self.pyramid.out_channels, pool_channels, 3)
        self.branch_quarter = ConvNormAct(pool_channels, quarter, 1)
        self.channels = (full, half, quarter)
        self.strides = (8, 2 * backbone.strides[1], 4 * backbone.strides[3])
        self.align_corners = align_corners

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into maps at strides 8, 16 and 32."""
        net: Any = self.trunk.encoder
        x = self._halve(images)
        x = net.maxpool(net.act1(net.bn1(net.conv1(x))))
        middle = self._through([*net.layer1, *net.layer2], x)
        deep = self._through([*net.layer3, *net.layer4], self._halve(middle))
        context = self.fuse(self.pyramid(deep))
        return [self.branch_full(images), self.branch_half(middle), self.branch_quarter(context)]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable activation checkpointing: only activations between the ResNet's blocks are stored."""
        self.grad_checkpointing = enable

    def _halve(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=self.align_corners)


class CascadeFusion(nn.Module):
    """Fusion of a coarse map, resized to the size of a fine one, with the fine one by addition.

    Parameters
    ----------
    low_channels, high_channels : int
        Channels of the coarse and of the fine map.
    channels : int
        Channels of the sum.
    align_corners : bool
        How the coarse map is resized.
    """

    def __init__(self, low_channels: int, high_channels: int, channels: int, *, align_corners: bool = False) -> None:
        super().__init__()
        self.low = ConvNormAct(low_channels, channels, 3, dilation=2)
        self.high = ConvNormAct(high_channels, channels, 1)
        self.align_corners = align_corners

    def forward(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum, and the projected coarse map; both [B, channels, h, w] of the fine map's size."""
        low = self.low(resize(low, high.shape[-2:], align_corners=self.align_corners))
        return (low + self.high(high)).relu(), low


@register_segmentor("icnet", output_stride=8)
class ICNetHead(Head):
    """ICNet (Zhao, Qi, Shen, Shi and Jia, ECCV 2018, arXiv:1704.08545).

    Fuses the three branches from coarse to fine. As in MMSegmentation and SSSegmentation, the two coarser branches are
    supervised with the labels at full size (the paper shrinks them), through a convolution and a classifier each.

    Parameters
    ----------
    maps : FeatureMaps
        The maps of the three branches of an `ICNetEncoder`.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the fused maps and of the convolutions before the classifiers.
    dropout : float
        Probability of dropping a channel before the classifiers; MMSegmentation drops none before the last one.
    early_weight : float
        Weight of the losses of the two coarser branches; 0 leaves their classifiers out.
    align_corners : bool
        How maps and logits are resized.
    """

    one_output = True

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 128,
        dropout: float = 0.1,
        early_weight: float = 0.4,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        full, half, quarter = maps.channels
        self.fuse_half = CascadeFusion(quarter, half, channels, align_corners=align_corners)
        self.fuse_full = CascadeFusion(channels, full, channels, align_corners=align_corners)

        fused = FeatureMaps((channels,) * 3, (maps.strides[1], maps.strides[0], maps.strides[0]))  # as `_fuse` returns

        def decoder(index: int) -> FCNHead:
            return FCNHead(
                fused,
                num_classes,
                index=index,
                channels=channels,
                num_convs=1,
                dropout=dropout,
                align_corners=align_corners,
            )

        self.decoder = decoder(2)
        self.early = nn.ModuleList([decoder(0), decoder(1)] if early_weight else [])
        self.early_weight = early_weight

    @classmethod
    def wrap_backbone(
        cls,
        backbone: Backbone,
        *,
        branch_channels: tuple[int, int, int] = (64, 256, 256),
        light_channels: int = 32,
        pool_channels: int = 512,
        pool_sizes: Sequence[int] = (1, 2, 3, 6),
        align_corners: bool = False,
    ) -> ICNetEncoder:
        """Return an `ICNetEncoder` around a ResNet; the arguments are those of `ICNetEncoder`."""
        return ICNetEncoder(
            backbone,
            branch_channels=branch_channels,
            light_channels=light_channels,
            pool_channels=pool_channels,
            pool_sizes=pool_sizes,
            align_corners=align_corners,
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the three branches into logits [B, K, h, w] at stride 8."""
        return self.decoder(self._fuse(features))

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the loss `seg` of the prediction, and `quarter` and `half` of the coarser branches."""
        maps = self._fuse(features)
        losses = self.decoder.losses(maps, targets, criterion)
        for name, decoder in zip(("quarter", "half"), self.early, strict=False):
            (term,) = decoder.losses(maps, targets, criterion).values()  # type: ignore[operator]
            losses[name] = self.early_weight * term
        return losses

    def _fuse(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the maps of the coarse branch, the middle branch, and all three fused."""
        full, half, quarter = features
        fused, at_half = self.fuse_half(quarter, half)
        fused, at_full = self.fuse_full(fused, full)
        return [at_half, at_full, fused]
