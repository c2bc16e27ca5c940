"""Mask2Former: queries that attend within their own masks (Cheng et al., CVPR 2022, arXiv:2112.01527)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitrail.layers import resize
from vitrail.layers.convolution import conv_group_norm
from vitrail.layers.deformable_attention import DeformableEncoder
from vitrail.layers.masked_query_decoder import MaskedQueryDecoder
from vitrail.losses.mask_classification import QueryPrediction
from vitrail.losses.mask_points import PointMaskLoss
from vitrail.segmentors.mask_classification import MaskClassificationHead
from vitrail.segmentors.maskformer import PixelDecoder
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps

_LEVELS = 3  # of the backbone's maps, the coarsest ones, are encoded


class FinePixelDecoder(PixelDecoder):
    """Top-down pathway from the encoded maps to the finer ones: group norm and bilinear upsampling.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the maps that are not encoded, finest first.
    channels : int
        Channels inside; a multiple of 32.
    out_channels : int
        Channels of the result.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, out_channels: int) -> None:
        super().__init__(
            deepest=nn.Identity(),
            laterals=[conv_group_norm(width, channels, 1, act=False) for width in reversed(in_channels)],
            smooth=[conv_group_norm(channels, channels, 3) for _ in in_channels],
            project=nn.Conv2d(channels, out_channels, 1),
        )

    def upsample(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Resize a map [B, C, h, w] to `size`."""
        return resize(x, size)


class DeformablePixelDecoder(nn.Module):
    """Encoder of the three coarsest maps by deformable attention, then a top-down pathway through the finer ones.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the backbone's maps, finest first.
    channels : int
        Channels of the encoded maps; a multiple of 32.
    out_channels : int
        Channels of the pixel embeddings.
    num_layers, num_heads, feedforward_channels, dropout
        See `DeformableEncoder`.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        out_channels: int,
        *,
        num_layers: int,
        num_heads: int,
        feedforward_channels: int,
        dropout: float,
    ) -> None:
        super().__init__()
        finer, encoded = in_channels[:-_LEVELS], in_channels[-_LEVELS:]
        inputs = [conv_group_norm(width, channels, 1, act=False, bias=True) for width in encoded[::-1]]
        for layer in inputs:
            weight, bias, *_ = layer.parameters()
            nn.init.xavier_uniform_(weight)
            nn.init.zeros_(bias)
        self.inputs = nn.ModuleList(inputs)
        self.encoder = DeformableEncoder(
            channels,
            len(encoded),
            num_layers=num_layers,
            num_heads=num_heads,
            feedforward_channels=feedforward_channels,
            dropout=dropout,
        )
        self.fine = FinePixelDecoder(finer, channels, out_channels)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Decode the backbone's maps, finest first.

        Returns
        -------
        pixels : Tensor
            Pixel embeddings [B, out_channels, h, w] at the finest size.
        maps : list of Tensor
            The encoded maps [B, channels, h, w], coarsest first.
        """
        encoded = features[: -len(self.inputs) - 1 : -1]
        maps = self.encoder([layer(x) for layer, x in zip(self.inputs, encoded, strict=True)])
        return self.fine([*features[: -len(maps)], maps[-1]]), maps


@register_segmentor("mask2former", backbone="resnet50")
class Mask2FormerHead(MaskClassificationHead):
    """Mask2Former (Cheng, Misra, Schwing, Kirillov and Girdhar, CVPR 2022, arXiv:2112.01527).

    Queries attend to three encoded maps in turn, each within the mask that it predicted before; each predicts a class
    and, by its product with a fine map of pixel embeddings, a mask. The head has its own losses, at sampled points: the
    segmentor's criterion is not used.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the three coarsest are encoded, the finer ones make the pixel embeddings.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the pixel decoder; a multiple of 32.
    mask_channels : int
        Channels of the pixel and mask embeddings, whose products are the masks.
    encoder_layers, encoder_feedforward_channels : int
        Layers of the pixel decoder's encoder, and hidden channels of their MLPs.
    query_channels : int
        Channels of the queries.
    num_queries : int
        Number of queries.
    num_layers, feedforward_channels : int
        Layers of the transformer decoder, and hidden channels of their MLPs. The prediction before the first layer is
        supervised too, so that configurations that count it have one more.
    num_heads : int
        Attention heads of encoder and decoder.
    dropout : float
        Dropout probability of encoder and decoder.
    num_points : int
        Points at which masks are matched, and points of each matched mask at which the losses are computed.
    oversample, importance_ratio : float
        Of the latter, a share `importance_ratio` are the most uncertain of `oversample` times as many random ones; the
        others are random.
    class_weight, mask_weight, dice_weight : float
        Weights of the three losses, and of the same terms in the matching of queries and classes.
    no_object_weight : float
        Weight of the unmatched queries in the classification loss.
    deep_supervision : bool
        Whether to apply the losses to the prediction before the first layer and after every layer, or after the last
        alone.
    align_corners : bool
        How predicted masks are resized.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 256,
        mask_channels: int = 256,
        encoder_layers: int = 6,
        encoder_feedforward_channels: int = 1024,
        query_channels: int = 256,
        num_queries: int = 100,
        num_layers: int = 9,
        feedforward_channels: int = 2048,
        num_heads: int = 8,
        dropout: float = 0.0,
        num_points: int = 12544,
        oversample: float = 3.0,
        importance_ratio: float = 0.75,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        no_object_weight: float = 0.1,
        deep_supervision: bool = True,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, deep_supervision=deep_supervision, align_corners=align_corners)
        self.pixel_decoder = DeformablePixelDecoder(
            maps.channels,
            channels,
            mask_channels,
            num_layers=encoder_layers,
            num_heads=num_heads,
            feedforward_channels=encoder_feedforward_channels,
            dropout=dropout,
        )
        self.query_decoder = MaskedQueryDecoder(
            channels,
            query_channels,
            mask_channels,
            num_queries,
            len(self.pixel_decoder.inputs),
            num_layers=num_layers,
            num_heads=num_heads,
            feedforward_channels=feedforward_channels,
            dropout=dropout,
        )
        self.classifier = nn.Linear(query_channels, num_classes + 1)
        self.loss = PointMaskLoss(
            num_points=num_points,
            oversample=oversample,
            importance_ratio=importance_ratio,
            class_weight=class_weight,
            mask_weight=mask_weight,
            dice_weight=dice_weight,
            no_object_weight=no_object_weight,
        )

    def queries(self, features: Sequence[Tensor]) -> list[QueryPrediction]:
        """Return the predictions before the first layer and after each (after the last alone unless training)."""
        pixels, maps = self.pixel_decoder(features)
        states = self.query_decoder(maps, pixels)
        return [
            QueryPrediction(self.classifier(queries), torch.einsum("bqc,bchw->bqhw", embeddings, pixels))
            for queries, embeddings in (states if self.training else states[-1:])
        ]
