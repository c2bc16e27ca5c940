"""CE2P: context, details and edges for human parsing (Ruan et al., AAAI 2019, arXiv:1809.05996)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones import Backbone
from vitrail.layers import PyramidPooling, resize, resize_logits
from vitrail.layers.edges import class_edges
from vitrail.layers.processes import mean_over_processes
from vitrail.losses.pixels import in_full_precision
from vitrail.segmentors.segmentor import Criterion, Head, Segmentor, register_segmentor

# The authors' batch norms are followed by a leaky ReLU, but for those of the backbone.
_conv = partial(ConvNormAct, act_layer=nn.LeakyReLU)


class EdgePerception(nn.Module):
    """Predicts edges from several maps; what it sees in them helps the parsing.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the maps, finest first.
    channels : int
        Channels that each map is brought to.
    align_corners : bool
        How maps are resized.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, *, align_corners: bool = False) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_conv(width, channels, 1) for width in in_channels)
        self.edge = nn.Conv2d(channels, 2, 3, padding=1)
        self.fuse = nn.Conv2d(2 * len(in_channels), 2, 1)
        self.align_corners = align_corners

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return edge logits [B, 2, h, w] and features [B, channels * n, h, w] of the finest map's size."""
        size = features[0].shape[-2:]
        seen = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        edges = [resize(self.edge(x), size, align_corners=self.align_corners) for x in seen]
        resized = [resize(x, size, align_corners=self.align_corners) for x in seen]
        return self.fuse(torch.cat(edges, dim=1)), torch.cat(resized, dim=1)


class CE2PHead(Head):
    """Pyramid pooling joined with the finest map, then joined with what edges are predicted from.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the backbone's maps, finest first.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the pooled maps and of the convolutions before the classifiers.
    shortcut_channels : int
        Channels that the finest map is brought to.
    edge_channels : int
        Channels that each map is brought to for the edges.
    pool_sizes : sequence of int
        Sides of the grids that the last map is averaged over.
    edge_width : int
        Of the edges to predict, in pixels.
    edge_weights_in_mean : bool
        Whether the edge loss is divided by the sum of its weights rather than by the number of pixels.
    early_weight, edge_weight : float
        Weights of the loss without edges, and of the edge loss.
    dropout, early_dropout : float
        Probability of dropping a channel before the classifier, and before the one without edges.
    align_corners : bool
        How maps and logits are resized.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: int = 512,
        shortcut_channels: int = 48,
        edge_channels: int = 256,
        pool_sizes: Sequence[int] = (1, 2, 3, 6),
        edge_width: int = 3,
        edge_weights_in_mean: bool = False,
        early_weight: float = 1.0,
        edge_weight: float = 1.0,
        dropout: float = 0.1,
        early_dropout: float = 0.0,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.pyramid = PyramidPooling(
            in_channels[-1], channels, pool_sizes, align_corners=align_corners, act_layer=nn.LeakyReLU
        )
        self.fuse = _conv(self.pyramid.out_channels, channels, 3)
        self.shortcut = _conv(in_channels[0], shortcut_channels, 1)
        self.edges = EdgePerception(in_channels[:-1], edge_channels, align_corners=align_corners)
        self.parse = _decoder(channels + shortcut_channels, channels, early_dropout)
        self.early_classifier = nn.Conv2d(channels, num_classes, 1)
        self.refine = _decoder(channels + edge_channels * (len(in_channels) - 1), channels, dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.edge_width = edge_width
        self.edge_weights_in_mean = edge_weights_in_mean
        self.early_weight = early_weight
        self.edge_weight = edge_weight

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w] of the finest map's size."""
        parsed, _, seen = self._decode(features)
        return self._refined(parsed, seen)

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses `seg`, `early` (of the parsing before edges join it), and `edge`."""
        parsed, edges, seen = self._decode(features)
        size = targets.shape[-2:]
        logits = resize_logits(self._refined(parsed, seen), size, align_corners=self.align_corners)
        early = resize_logits(self.early_classifier(parsed), size, align_corners=self.align_corners)
        edges = resize_logits(edges, size, align_corners=self.align_corners)
        wanted = class_edges(targets, self.edge_width)
        return {
            "seg": criterion(logits, targets),
            "early": self.early_weight * criterion(early, targets),
            "edge": self.edge_weight * edge_loss(edges, wanted, weights_in_mean=self.edge_weights_in_mean),
        }

    def _decode(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return parsing features, edge logits, and the features that edges are predicted from."""
        context = resize(
            self.fuse(self.pyramid(features[-1])), features[0].shape[-2:], align_corners=self.align_corners
        )
        edges, seen = self.edges(features[:-1])
        return self.parse(torch.cat([context, self.shortcut(features[0])], dim=1)), edges, seen

    def _refined(self, parsed: Tensor, seen: Tensor) -> Tensor:
        return self.classifier(self.refine(torch.cat([parsed, seen], dim=1)))


def _decoder(in_channels: int, channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(_conv(in_channels, channels, 1), _conv(channels, channels, 1), nn.Dropout2d(dropout))


def edge_loss(logits: Tensor, edges: Tensor, *, weights_in_mean: bool) -> Tensor:
    """Return the cross entropy of edge logits [B, 2, H, W] for edges [B, H, W], as if half of the pixels were edges.

    Each of the two classes weighs as much as the other takes of the batch, over all processes; a batch without edges
    costs nothing.

    Parameters
    ----------
    logits, edges : Tensor
        The prediction, and 0 or 1.
    weights_in_mean : bool
        Whether the divisor is the sum of the pixels' weights rather than their number.
    """
    share = mean_over_processes(edges.float().mean())
    weights = torch.stack([share, 1 - share]).to(torch.promote_types(logits.dtype, torch.float32))
    total = F.cross_entropy(in_full_precision(logits), edges, weight=weights, reduction="sum")
    divisor = 2 * share * (1 - share) * edges.numel()
    return total / (torch.where(divisor > 0, divisor, 1.0).to(total.dtype) if weights_in_mean else edges.numel())


@register_segmentor("ce2p", output_stride=16)
def ce2p(
    backbone: Backbone,
    num_classes: int,
    *,
    channels: int = 512,
    shortcut_channels: int = 48,
    edge_channels: int = 256,
    pool_sizes: Sequence[int] = (1, 2, 3, 6),
    edge_width: int = 3,
    edge_weights_in_mean: bool = False,
    early_weight: float = 1.0,
    edge_weight: float = 1.0,
    dropout: float = 0.1,
    early_dropout: float = 0.0,
    align_corners: bool = False,
) -> Segmentor:
    """Build context embedding with edge perceiving (Ruan et al., AAAI 2019, arXiv:1809.05996).

    The edges that it learns are made from the masks as training goes.

    Parameters
    ----------
    backbone : Backbone
        The encoder; the head reads all its maps.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the pooled maps and of the convolutions before the classifiers.
    shortcut_channels : int
        Channels that the finest map is brought to before it joins the context.
    edge_channels : int
        Channels that each map but the last is brought to for the edges.
    pool_sizes : sequence of int
        Sides of the grids that the last map is averaged over.
    edge_width : int
        Of the edges to predict, in pixels; odd.
    edge_weights_in_mean : bool
        Whether the edge loss, in which the rarer class weighs more, is divided by the sum of the weights or by the
        number of pixels. SSSegmentation does the latter for VOC and the former for human parsing.
    early_weight : float
        Weight of the loss of the parsing before edges join it.
    edge_weight : float
        Weight of the edge loss.
    dropout : float
        Probability of dropping a channel before the classifier.
    early_dropout : float
        The same before the classifier of the parsing without edges.
    align_corners : bool
        How maps and logits are resized.
    """
    head = CE2PHead(
        backbone.channels,
        num_classes,
        channels=channels,
        shortcut_channels=shortcut_channels,
        edge_channels=edge_channels,
        pool_sizes=pool_sizes,
        edge_width=edge_width,
        edge_weights_in_mean=edge_weights_in_mean,
        early_weight=early_weight,
        edge_weight=edge_weight,
        dropout=dropout,
        early_dropout=early_dropout,
        align_corners=align_corners,
    )
    return Segmentor(backbone, head)
