"""MaskFormer: queries that each predict a class and a mask (Cheng et al., NeurIPS 2021, arXiv:2107.06278)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers import PyramidPooling, resize
from vitrail.layers.convolution import conv_group_norm
from vitrail.layers.mlp import MLP
from vitrail.layers.query_decoder import QueryDecoder
from vitrail.losses.mask_classification import MaskClassificationLoss, QueryPrediction
from vitrail.segmentors.mask_classification import MaskClassificationHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps


class PixelDecoder(nn.Module):
    """Top-down pathway from the coarsest map to the finest, with a lateral and a smoothing block for each finer map.

    Parameters
    ----------
    deepest : nn.Module
        Applied to the coarsest map.
    laterals, smooth : iterable of nn.Module
        For every other map, coarsest first: applied to the map, and to its sum with the upsampled coarser result.
    project : nn.Module
        Applied to the result.
    """

    def __init__(
        self, deepest: nn.Module, laterals: Iterable[nn.Module], smooth: Iterable[nn.Module], project: nn.Module
    ) -> None:
        super().__init__()
        self.deepest = deepest
        self.laterals = nn.ModuleList(laterals)
        self.smooth = nn.ModuleList(smooth)
        self.project = project
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps, finest first, into one map [B, C, h, w] at the finest size."""
        x = self.deepest(features[-1])
        for lateral, smooth, feature in zip(self.laterals, self.smooth, reversed(features[:-1]), strict=True):
            side = lateral(feature)
            x = smooth(side + self.upsample(x, side.shape[-2:]))
        return self.project(x)

    def upsample(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Resize a map [B, C, h, w] to `size`."""
        return F.interpolate(x, size=tuple(size), mode="nearest")


class FPNPixelDecoder(PixelDecoder):
    """The pixel decoder of the paper: a feature pyramid with group norm and nearest upsampling.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the backbone's maps, finest first.
    channels : int
        Channels inside; a multiple of 32.
    out_channels : int
        Channels of the result.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, out_channels: int) -> None:
        *finer, last = in_channels
        super().__init__(
            deepest=conv_group_norm(last, channels, 3),
            laterals=[conv_group_norm(width, channels, 1, act=False) for width in reversed(finer)],
            smooth=[conv_group_norm(channels, channels, 3) for _ in finer],
            project=nn.Conv2d(channels, out_channels, 3, padding=1),
        )


class PooledPixelDecoder(PixelDecoder):
    """SSSegmentation's pixel decoder, that of UPerNet: pyramid pooling, batch norm, bilinear upsampling.

    Parameters
    ----------
    in_channels, channels, out_channels
        See `FPNPixelDecoder`.
    pool_sizes : sequence of int
        Sides of the grids that the coarsest map is averaged over.
    align_corners : bool
        How maps are resized.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        out_channels: int,
        *,
        pool_sizes: Sequence[int],
        align_corners: bool,
    ) -> None:
        *finer, last = in_channels
        pyramid = PyramidPooling(last, channels, pool_sizes, align_corners=align_corners)
        super().__init__(
            deepest=nn.Sequential(pyramid, ConvNormAct(pyramid.out_channels, channels, 3)),
            laterals=[ConvNormAct(width, channels, 1) for width in reversed(finer)],
            smooth=[ConvNormAct(channels, channels, 3) for _ in finer],
            project=nn.Conv2d(channels, out_channels, 3, padding=1),
        )
        self.align_corners = align_corners

    def upsample(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Resize a map [B, C, h, w] to `size`."""
        return resize(x, size, align_corners=self.align_corners)


@register_segmentor("maskformer", backbone="resnet50")
class MaskFormerHead(MaskClassificationHead):
    """MaskFormer (Cheng, Schwing and Kirillov, NeurIPS 2021, arXiv:2107.06278).

    Queries attend to the last map; each predicts a class and, by its product with a fine map of pixel embeddings, a
    mask. The head has its own losses: the segmentor's criterion is not used.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the pixel decoder reads all, the queries the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the pixel decoder: 256 in the paper, 512 in SSSegmentation.
    mask_channels : int
        Channels of the pixel and mask embeddings, whose products are the masks.
    pool_sizes : sequence of int, optional
        None is the pixel decoder of the paper, MMSegmentation and transformers: a feature pyramid with group norm and
        nearest upsampling. Grid sizes, (1, 2, 3, 6), make it SSSegmentation's: pyramid pooling on the last map, batch
        norm, bilinear upsampling.
    query_channels : int
        Channels of the queries.
    num_queries : int
        Number of queries.
    num_layers, num_heads, feedforward_channels, dropout
        Of the transformer decoder.
    class_weight, mask_weight, dice_weight : float
        Weights of the three losses, and of the same terms in the matching of queries and classes.
    no_object_weight : float
        Weight of the unmatched queries in the classification loss.
    deep_supervision : bool
        Whether to apply the losses after every layer of the transformer decoder rather than the last alone.
    align_corners : bool
        How masks (and with `pool_sizes` the maps of the pixel decoder) are resized.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 256,
        mask_channels: int = 256,
        pool_sizes: Sequence[int] | None = None,
        query_channels: int = 256,
        num_queries: int = 100,
        num_layers: int = 6,
        num_heads: int = 8,
        feedforward_channels: int = 2048,
        dropout: float = 0.1,
        class_weight: float = 1.0,
        mask_weight: float = 20.0,
        dice_weight: float = 1.0,
        no_object_weight: float = 0.1,
        deep_supervision: bool = True,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, deep_supervision=deep_supervision, align_corners=align_corners)
        self.pixel_decoder: PixelDecoder = (
            FPNPixelDecoder(maps.channels, channels, mask_channels)
            if pool_sizes is None
            else PooledPixelDecoder(
                maps.channels, channels, mask_channels, pool_sizes=pool_sizes, align_corners=align_corners
            )
        )
        self.query_decoder = QueryDecoder(
            maps.channels[-1],
            query_channels,
            num_queries,
            num_layers=num_layers,
            num_heads=num_heads,
            feedforward_channels=feedforward_channels,
            dropout=dropout,
        )
        self.classifier = nn.Linear(query_channels, num_classes + 1)
        self.mask_mlp = MLP((query_channels, query_channels, query_channels, mask_channels))
        self.loss = MaskClassificationLoss(
            class_weight=class_weight,
            mask_weight=mask_weight,
            dice_weight=dice_weight,
            no_object_weight=no_object_weight,
        )

    def queries(self, features: Sequence[Tensor]) -> list[QueryPrediction]:
        """Return the predictions of the queries after each layer (after the last alone unless training)."""
        pixels = self.pixel_decoder(features)  # [B, C, h, w]
        states = self.query_decoder(features[-1])
        return [
            QueryPrediction(self.classifier(x), torch.einsum("bqc,bchw->bqhw", self.mask_mlp(x), pixels))
            for x in (states if self.training else states[-1:])
        ]
