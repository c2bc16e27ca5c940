"""LR-ASPP: a light pyramid for mobile encoders (Howard et al., ICCV 2019, arXiv:1905.02244)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers import resize
from vitrail.layers.interpolation import window_matrix
from vitrail.layers.resize import is_variable, resize_variable
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


@register_segmentor(
    "lraspp",
    backbone="tf_mobilenetv3_large_100",
    output_stride=8,
    backbone_options={"out_indices": [0, 1, 4]},  # the maps at strides 2, 4 and 8
)
class LRASPPHead(Head):
    """Lite reduced atrous spatial pyramid pooling (Howard et al., "Searching for MobileNetV3", ICCV 2019).

    The last map is weighted by averages over large windows, then resized to finer maps and fused with each in turn.
    This is the form of MMSegmentation and SSSegmentation, which fuse features; the paper and torchvision add the logits
    of two maps (`fuse_logits`).

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last, and the finest ones that `branch_channels` counts. The
        published models have MobileNetV3's maps at the strides 2, 4 and 8, as by default: `out_indices` (0, 1, 4).
    num_classes : int
        K, the number of classes.
    channels : int
        Channels inside the head.
    branch_channels : sequence of int
        Channels of the projection of each of the finest maps, finest first.
    fuse_logits : bool
        Whether logits of the last map, resized, and of the finest are added, instead of fusing features; then
        `branch_channels`, `bias` and `pool_strides` are not used.
    pool_size : int, optional
        Side of the windows that are averaged; a map that is smaller is averaged whole, and every map for None.
    pool_strides : (int, int)
        How far these windows are apart, down and along.
    pool_norm : bool
        Whether batch norm follows the projection of the averages: True in SSSegmentation, False in MMSegmentation.
    bias : bool
        Whether the projection of the weighted map has a bias: False in SSSegmentation, True in MMSegmentation.
    norm_eps : float
        Epsilon of the head's batch norms.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How maps and logits are resized.

    Raises
    ------
    ModelError
        For more `branch_channels` than the backbone has maps before the last.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 128,
        branch_channels: Sequence[int] = (32, 64),
        fuse_logits: bool = False,
        pool_size: int | None = 49,
        pool_strides: Sequence[int] = (16, 20),
        pool_norm: bool = True,
        bias: bool = False,
        norm_eps: float = 1e-3,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        maps.check_index(1 if fuse_logits else len(branch_channels), "branch_channels")
        conv = partial(ConvNormAct, kernel_size=1, norm_kwargs={"eps": norm_eps})
        last = maps.channels[-1]
        self.pool_size = pool_size
        self.pool_strides = tuple(pool_strides)
        self.reduce = conv(last, channels)
        norm = nn.BatchNorm2d(channels, eps=norm_eps) if pool_norm else nn.Identity()
        self.gate = nn.Sequential(nn.Conv2d(last, channels, 1, bias=False), norm)
        self.fuse_logits = fuse_logits
        if fuse_logits:
            self.low_classifier = nn.Conv2d(maps.channels[0], num_classes, 1)
        else:
            self.project = nn.Conv2d(channels, channels, 1, bias=bias)
            self.branches = nn.ModuleList(
                nn.Conv2d(width, branch, 1, bias=False)
                for width, branch in zip(maps.channels, branch_channels, strict=False)
            )
            self.fuse = nn.ModuleList(conv(channels + branch, channels) for branch in branch_channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w] at the size of the finest map."""
        x = features[-1]
        x = self.reduce(x) * resize_variable(self._gate(x), x.shape[-2:], align_corners=self.align_corners)
        if self.fuse_logits:
            x = resize(x, features[0].shape[-2:], align_corners=self.align_corners)
            return self.low_classifier(features[0]) + self.classifier(self.dropout(x))
        x = self.project(x)
        for branch, fuse, feature in reversed(list(zip(self.branches, self.fuse, features, strict=False))):
            x = resize(x, feature.shape[-2:], align_corners=self.align_corners)
            x = fuse(torch.cat([x, branch(feature)], dim=1))
        return self.classifier(self.dropout(x))

    def _gate(self, x: Tensor) -> Tensor:
        """Return a weight of every channel for each window over a map [B, C, h, w]."""
        if self.pool_size is None:
            return self.gate(F.adaptive_avg_pool2d(x, 1)).sigmoid()
        if is_variable(x.shape[-2:]):
            rows, columns = (
                window_matrix(side, self.pool_size, stride, x)
                for side, stride in zip(x.shape[-2:], self.pool_strides, strict=True)
            )
            return self.gate(rows @ x @ columns.transpose(0, 1)).sigmoid()
        window = [min(self.pool_size, side) for side in x.shape[-2:]]
        return self.gate(F.avg_pool2d(x, window, self.pool_strides)).sigmoid()
