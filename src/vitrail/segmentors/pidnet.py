"""PIDNet: a three-branch encoder whose details and boundaries are supervised too (Xu et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vitrail.labels import ignore_index
from vitrail.layers import resize_logits
from vitrail.layers.edges import class_edges
from vitrail.layers.processes import mean_over_processes
from vitrail.losses import CrossEntropyLoss, resized_loss
from vitrail.segmentors.ddrnet import PreNormDecoder
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head


@register_segmentor("pidnet", backbone="pidnet_s")
class PIDNetHead(Head):
    """PIDNet (Xu, Xiong and Bhattacharyya, CVPR 2023, arXiv:2206.02066).

    A convolution and a classifier on the fused map; in training also on the early details, and a predictor of the
    boundaries between classes. The criterion is applied to the fused logits twice: everywhere, and where a boundary is
    predicted.

    Parameters
    ----------
    maps : FeatureMaps
        The encoder's maps: details, boundaries, and the fused map last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolutions before the classifiers.
    early_weight : float
        Weight of the cross entropy of the early logits.
    early_class_weights : sequence of float, optional
        One factor per class in that cross entropy; the mean is weighted by them, too. Without them it is over all
        pixels, ignored ones included. Both are as in MMSegmentation.
    boundary_weight : float
        Weight of the loss of the boundaries.
    boundary_width : int
        Width of the boundaries in pixels.
    boundary_threshold : float
        A pixel lies at a predicted boundary when that is more probable than this.
    dropout : float
        Probability of dropping a channel before the last classifier.
    align_corners : bool
        How logits are resized to the image.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 128,
        early_weight: float = 0.4,
        early_class_weights: Sequence[float] | None = None,
        boundary_weight: float = 20.0,
        boundary_width: int = 4,
        boundary_threshold: float = 0.8,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        maps.check_index(-3, "pidnet")
        early, boundary, last = maps.channels[-3:]
        self.decoder = PreNormDecoder(last, channels, num_classes, dropout=dropout)
        self.early = PreNormDecoder(early, channels, num_classes)
        self.boundary = PreNormDecoder(boundary, last // 4, 1)
        self.early_loss = CrossEntropyLoss(
            class_weights=early_class_weights, ignored_in_mean=early_class_weights is None
        )
        self.early_weight = early_weight
        self.boundary_weight = boundary_weight
        self.boundary_width = boundary_width
        self.boundary_threshold = boundary_threshold

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the last map into logits [B, K, h, w]."""
        return self.decoder(features[-1])

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses of the fused logits, of the early ones, of the boundaries, and of the logits there."""
        early, edges, last = features[-3:]
        corners = self.align_corners
        ignored = ignore_index(self.num_classes)
        logits = self.decoder(last)
        boundary = resize_logits(self.boundary(edges), targets.shape[-2:], align_corners=corners)[:, 0]
        found = boundary.detach().sigmoid() > self.boundary_threshold
        at_boundaries = torch.where(found, targets, ignored)
        truth = class_edges(targets, self.boundary_width, ignore=ignored)
        early_loss = resized_loss(self.early_loss, self.early(early), targets, align_corners=corners)
        return {
            "seg": resized_loss(criterion, logits, targets, align_corners=corners),
            "early": self.early_weight * early_loss,
            "boundary": self.boundary_weight * balanced_cross_entropy(boundary, truth),
            "boundary_seg": resized_loss(criterion, logits, at_boundaries, align_corners=corners),
        }


def balanced_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean binary cross entropy of logits and targets [B, H, W], each kind weighted by the other's share.

    The share is that in the batches of all processes.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    share = mean_over_processes(targets.to(logits.dtype).mean())
    weights = torch.where(targets == 1, 1 - share, share)
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), weights)
