"""PointRend: a coarse prediction, refined point by point where it is uncertain (Kirillov et al., CVPR 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers.feature_pyramid import FeaturePyramidNetwork, PyramidSum
from vitrail.layers.points import sample_points, uncertain_pixels, uncertain_points
from vitrail.losses import resized_loss
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head


class PointMLP(nn.Module):
    """MLP that classifies points by their fine features, with the coarse prediction as an input of every layer.

    Parameters
    ----------
    in_channels : int
        Channels of the fine features.
    num_classes : int
        K, the number of classes.
    channels : int
        Width of the layers.
    num_layers : int
        Number of layers before the classifier.
    norm : bool
        Whether batch norm follows each layer.
    dropout : float
        Probability of dropping an entry before the classifier.
    """

    def __init__(
        self, in_channels: int, num_classes: int, *, channels: int, num_layers: int, norm: bool, dropout: float
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for _ in range(num_layers):
            conv = nn.Conv1d(in_channels + num_classes, channels, 1, bias=not norm)
            bn = nn.BatchNorm1d(channels) if norm else nn.Identity()
            self.layers.append(nn.Sequential(conv, bn, nn.ReLU(inplace=True)))
            in_channels = channels
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv1d(in_channels + num_classes, num_classes, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Map features [B, C, N] and coarse logits [B, K, N] to logits [B, K, N]."""
        x = torch.cat([fine, coarse], dim=1)
        for layer in self.layers:
            x = torch.cat([layer(x), coarse], dim=1)
        return self.classifier(self.dropout(x))


@register_segmentor("pointrend")
class PointRendHead(Head):
    """PointRend on a semantic feature pyramid (Kirillov, Wu, He and Girshick, CVPR 2020, arXiv:1912.08193).

    A feature pyramid gives a coarse prediction; an MLP predicts again at its most uncertain points.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads all.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the feature pyramid and of the MLP.
    coarse_channels : int
        Channels of the convolutions of the coarse prediction.
    num_layers : int
        Layers of the MLP before its classifier.
    norm : bool
        Whether batch norm follows the convolutions of the pyramid (with ReLU) and the layers of the MLP: True in
        SSSegmentation, False in the paper and MMSegmentation.
    num_points : int
        Points of an image that the MLP is trained at in one step.
    oversample, importance_ratio : float
        Of these points, a share `importance_ratio` are the most uncertain of `oversample` times as many random ones;
        the others are random.
    steps : int
        How many times a prediction is doubled in size and refined.
    points_per_step : int
        Number of points predicted again in each refinement.
    coarse_weight : float
        Weight of the coarse prediction's loss: 0.4 in SSSegmentation, 1 in MMSegmentation.
    dropout : float
        Probability of dropping a channel before the classifiers.
    align_corners : bool
        How maps and logits are resized and sampled.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 256,
        coarse_channels: int = 128,
        num_layers: int = 3,
        norm: bool = True,
        num_points: int = 2048,
        oversample: float = 3.0,
        importance_ratio: float = 0.75,
        steps: int = 2,
        points_per_step: int = 8196,
        coarse_weight: float = 0.4,
        dropout: float = 0.0,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.pyramid = FeaturePyramidNetwork(maps.channels, channels, norm=norm)
        self.fuse = PyramidSum(channels, coarse_channels, maps.strides, align_corners=align_corners)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(coarse_channels, num_classes, 1)
        self.points = PointMLP(
            channels, num_classes, channels=channels, num_layers=num_layers, norm=norm, dropout=dropout
        )
        self.num_points = num_points
        self.oversample = oversample
        self.importance_ratio = importance_ratio
        self.steps = steps
        self.points_per_step = points_per_step
        self.coarse_weight = coarse_weight

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w], refined to `2 ** steps` times the finest map's size."""
        fine, coarse = self._decode(features)
        logits = coarse
        for _ in range(self.steps):
            logits = F.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=self.align_corners)
            pixels, points = uncertain_pixels(logits, self.points_per_step)
            decided = self._at_points(fine, coarse, points).to(logits.dtype)
            index = pixels.unsqueeze(1).expand_as(decided)
            logits = logits.flatten(2).scatter(2, index, decided).view_as(logits)
        return logits

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the loss `point` at sampled points, and `seg` of the coarse prediction."""
        fine, coarse = self._decode(features)
        with torch.no_grad():
            points = uncertain_points(
                coarse, self.num_points, oversample=self.oversample, importance_ratio=self.importance_ratio
            )
        logits = self._at_points(fine, coarse, points)  # [B, K, N]
        labels = sample_points(
            targets.unsqueeze(1).float(), points, mode="nearest", align_corners=self.align_corners
        ).to(targets.dtype)  # [B, 1, N]
        return {
            "point": criterion(logits.unsqueeze(2), labels),
            "seg": self.coarse_weight * resized_loss(criterion, coarse, targets, align_corners=self.align_corners),
        }

    def _decode(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the finest level of the pyramid, and coarse logits of its size."""
        levels = self.pyramid(features)
        return levels[0], self.classifier(self.dropout(self.fuse(levels)))

    def _at_points(self, fine: Tensor, coarse: Tensor, points: Tensor) -> Tensor:
        """Return new logits [B, K, N] at `points` [B, N, 2]."""
        fine, coarse = (sample_points(x, points, align_corners=self.align_corners) for x in (fine, coarse))
        return self.points(fine, coarse)
