"""CE2P: context, details and edges for human parsing (Ruan et al., AAAI 2019, arXiv:1809.05996)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.labels import ignore_index
from vitrail.layers import PyramidPooling, resize, resize_logits
from vitrail.layers.edges import class_edges
from vitrail.layers.processes import mean_over_processes
from vitrail.losses import resized_loss
from vitrail.losses.pixels import in_full_precision
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head

# The authors' batch norms are followed by a leaky ReLU, but for those of the backbone.
_conv = partial(ConvNormAct, act_layer=nn.LeakyReLU)


class EdgePerception(nn.Module):
    """Edge prediction from several feature maps.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the maps, finest first.
    channels : int
        Channels that each map is projected to.
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
        """Return edge logits [B, 2, h, w] and the features behind them [B, channels * n, h, w], at the finest size."""
        size = features[0].shape[-2:]
        maps = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        edges = [resize(self.edge(x), size, align_corners=self.align_corners) for x in maps]
        resized = [resize(x, size, align_corners=self.align_corners) for x in maps]
        return self.fuse(torch.cat(edges, dim=1)), torch.cat(resized, dim=1)


@register_segmentor("ce2p", output_stride=16)
class CE2PHead(Head):
    """CE2P, context embedding with edge perceiving (Ruan et al., AAAI 2019, arXiv:1809.05996).

    Pyramid pooling joined with the finest map, then with the features that edges are predicted from. The targets of the
    edges are computed from the masks during training.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps, at least two; the head reads all.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the pooled maps and of the convolutions before the classifiers.
    shortcut_channels : int
        Channels that the finest map is projected to before it joins the context.
    edge_channels : int
        Channels that each map but the last is projected to for the edges.
    pool_sizes : sequence of int
        Sides of the grids that the last map is averaged over.
    edge_width : int
        Width of the target edges in pixels; odd.
    edge_weights_in_mean : bool
        Whether the edge loss, in which the rarer class weighs more, is divided by the sum of the weights rather than by
        the number of pixels. SSSegmentation does the latter for VOC and the former for human parsing.
    early_weight : float
        Weight of the loss of the prediction made before the edge features join.
    edge_weight : float
        Weight of the edge loss.
    dropout, early_dropout : float
        Probability of dropping a channel before the classifier, and before that of the early prediction.
    align_corners : bool
        How maps and logits are resized.

    Raises
    ------
    ModelError
        On a backbone with a single map.
    """

    def __init__(
        self,
        maps: FeatureMaps,
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
        maps.check_index(-2, "ce2p")
        in_channels = maps.channels
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
        parsed, _, edge_features = self._decode(features)
        return self._refined(parsed, edge_features)

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses `seg`, `early` (of the prediction before the edge features join), and `edge`."""
        parsed, edges, edge_features = self._decode(features)
        logits, early = self._refined(parsed, edge_features), self.early_classifier(parsed)
        edges = resize_logits(edges, targets.shape[-2:], align_corners=self.align_corners)
        edge_targets = class_edges(targets, self.edge_width, ignore=ignore_index(self.num_classes))
        return {
            "seg": resized_loss(criterion, logits, targets, align_corners=self.align_corners),
            "early": self.early_weight * resized_loss(criterion, early, targets, align_corners=self.align_corners),
            "edge": self.edge_weight * edge_loss(edges, edge_targets, weights_in_mean=self.edge_weights_in_mean),
        }

    def _decode(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return segmentation features, edge logits, and the features that edges are predicted from."""
        context = resize(
            self.fuse(self.pyramid(features[-1])), features[0].shape[-2:], align_corners=self.align_corners
        )
        edges, edge_features = self.edges(features[:-1])
        return self.parse(torch.cat([context, self.shortcut(features[0])], dim=1)), edges, edge_features

    def _refined(self, parsed: Tensor, edge_features: Tensor) -> Tensor:
        return self.classifier(self.refine(torch.cat([parsed, edge_features], dim=1)))


def _decoder(in_channels: int, channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(_conv(in_channels, channels, 1), _conv(channels, channels, 1), nn.Dropout2d(dropout))


def edge_loss(logits: Tensor, edges: Tensor, *, weights_in_mean: bool) -> Tensor:
    """Return the class-balanced cross entropy of edge logits [B, 2, H, W] and edge targets [B, H, W].

    The weight of each of the two classes is the share of the other in the batch, over all processes; without edges the
    loss is 0.

    Parameters
    ----------
    logits, edges : Tensor
        The prediction; 1 at edges, 0 elsewhere.
    weights_in_mean : bool
        Whether the divisor is the sum of the pixels' weights rather than their number.
    """
    share = mean_over_processes(edges.float().mean())
    weights = torch.stack([share, 1 - share]).to(torch.promote_types(logits.dtype, torch.float32))
    total = F.cross_entropy(in_full_precision(logits), edges, weight=weights, reduction="sum")
    divisor = 2 * share * (1 - share) * edges.numel()
    return total / (torch.where(divisor > 0, divisor, 1.0).to(total.dtype) if weights_in_mean else edges.numel())
