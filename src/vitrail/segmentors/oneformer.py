"""OneFormer: Mask2Former whose queries are made from a sentence that names the task (Jain et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers.masked_query_decoder import MaskedQueryDecoder
from vitrail.layers.mlp import MLP
from vitrail.layers.position_encoding import sine_position_encoding
from vitrail.layers.query_decoder import QueryDecoderLayer
from vitrail.losses.mask_classification import QueryPrediction
from vitrail.losses.mask_points import PointMaskLoss
from vitrail.losses.pixels import in_full_precision
from vitrail.segmentors.mask2former import DeformablePixelDecoder
from vitrail.segmentors.mask_classification import MaskClassificationHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps

TASK_LENGTH = 77
# CLIP's tokens of "the task is semantic": the start, "the", "task", "is", "seman", "tic" and the end; zeros follow, up
# to TASK_LENGTH of them. It is what the byte pair encoding with CLIP's published merges makes of the sentence.
TASK_TOKENS = (49406, 518, 10549, 533, 29119, 1550, 49407)


class TaskQueries(nn.Module):
    """A transformer decoder that turns copies of the task token into queries that differ from image to image.

    As published, the values that the queries attend to are the positions of the pixels, and the keys the sum of these
    and the projected pixel embeddings.

    Parameters
    ----------
    channels : int
        Channels of the pixel embeddings and of the queries.
    num_layers, num_heads, feedforward_channels, dropout
        See `QueryDecoderLayer`.
    """

    def __init__(
        self,
        channels: int,
        *,
        num_layers: int,
        num_heads: int,
        feedforward_channels: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels, 1)
        self.layers = nn.ModuleList(
            QueryDecoderLayer(channels, num_heads, feedforward_channels, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(channels)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, pixels: Tensor, task: Tensor, query_position: Tensor) -> Tensor:
        """Return queries [B, Q, C] for pixel embeddings [B, C, H, W], a task token [C] and positions [Q, C]."""
        x = self.project(pixels)
        position = sine_position_encoding(x.shape[-2], x.shape[-1], x.shape[1], like=x)
        memory = position.expand_as(x).flatten(2).transpose(1, 2)
        memory_key = (x + position).flatten(2).transpose(1, 2)
        query_position = query_position.expand(len(x), -1, -1)
        queries = task.expand_as(query_position)
        for layer in self.layers:
            queries = layer(queries, query_position, memory, memory_key)
        normed: Tensor = self.norm(queries)
        return normed


@register_segmentor("oneformer", backbone="resnet50")
class OneFormerHead(MaskClassificationHead):
    """OneFormer (Jain, Li, Chiu, Hassani, Orlov and Shi, CVPR 2023, arXiv:2211.06220).

    Mask2Former whose queries do not start as learned vectors: a two-layer MLP maps the tokens of a sentence, "the task
    is semantic", to a task token; a transformer decoder makes all queries but the last from it and the finest map, and
    the last query is the task token itself. The published models were trained for panoptic and instance segmentation
    too; here the task is always the same.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the three coarsest are encoded, the finer ones make the pixel embeddings.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the pixel decoder and of the queries; a multiple of 32.
    encoder_layers, encoder_feedforward_channels : int
        Layers of the pixel decoder's encoder, and hidden channels of their MLPs.
    num_queries : int
        Number of queries.
    query_layers : int
        Layers of the decoder that makes the queries.
    num_layers, feedforward_channels : int
        Layers of the decoder with masked attention, and hidden channels of the MLPs of both decoders. The prediction
        before the first layer is supervised too, so that configurations that count it have one more.
    num_heads : int
        Attention heads of the encoder and of both decoders.
    dropout : float
        Dropout probability of the encoder and of the decoder that makes the queries.
    num_points, oversample, importance_ratio
        See `PointMaskLoss`.
    class_weight, mask_weight, dice_weight : float
        Weights of the three losses, and of the same terms in the matching of queries and classes.
    no_object_weight : float
        Weight of the unmatched queries in the classification loss.
    deep_supervision : bool
        Whether to apply these losses to the prediction before the first layer and after every layer, or after the last
        alone.
    align_corners : bool
        How predicted masks are resized.
    """

    task_tokens: Tensor

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 256,
        encoder_layers: int = 6,
        encoder_feedforward_channels: int = 1024,
        num_queries: int = 150,
        query_layers: int = 2,
        num_layers: int = 9,
        feedforward_channels: int = 2048,
        num_heads: int = 8,
        dropout: float = 0.1,
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
            channels,
            num_layers=encoder_layers,
            num_heads=num_heads,
            feedforward_channels=encoder_feedforward_channels,
            dropout=dropout,
        )
        padding = (0,) * (TASK_LENGTH - len(TASK_TOKENS))
        self.register_buffer("task_tokens", torch.tensor(TASK_TOKENS + padding), persistent=False)
        self.task_mlp = MLP((TASK_LENGTH, channels, channels))
        self.task_queries = TaskQueries(
            channels,
            num_layers=query_layers,
            num_heads=num_heads,
            feedforward_channels=feedforward_channels,
            dropout=dropout,
        )
        self.query_decoder = MaskedQueryDecoder(
            channels,
            channels,
            channels,
            num_queries,
            len(self.pixel_decoder.inputs),
            num_layers=num_layers,
            num_heads=num_heads,
            feedforward_channels=feedforward_channels,
            learned_queries=False,
        )
        self.classifier = nn.Linear(channels, num_classes + 1)
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
        states = self.query_decoder(maps, pixels, self.first_queries(pixels))
        return [
            QueryPrediction(self.classifier(queries), torch.einsum("bqc,bchw->bqhw", embeddings, pixels))
            for queries, embeddings in (states if self.training else states[-1:])
        ]

    def first_queries(self, pixels: Tensor) -> Tensor:
        """Return the queries [B, Q, C] before the first layer with masked attention, the task token last."""
        task = self._task_token().to(pixels.dtype)
        queries = self.task_queries(pixels, task, self.query_decoder.query_position.weight[:-1])
        return torch.cat([queries, task.expand(len(pixels), 1, -1).to(queries.dtype)], dim=1)

    def _task_token(self) -> Tensor:
        """Return the task token [C]: the MLP of the tokens, as numbers, with the norm that all queries share."""
        # half precision rounds the numbers of tokens, and what the first layer makes of them may be beyond float16
        with torch.autocast(self.task_tokens.device.type, enabled=False):
            first, last, norm = (
                (in_full_precision(layer.weight), in_full_precision(layer.bias))
                for layer in (*self.task_mlp, self.query_decoder.norm)
            )
            x = F.linear(F.linear(self.task_tokens.to(first[0].dtype), *first).relu(), *last)
            return F.layer_norm(x, x.shape, norm[0], norm[1], self.query_decoder.norm.eps)
