"""A method: every feature map is projected, resized to the finest one, added and classified."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from vitrail import FeatureMaps, Head, register_segmentor


@register_segmentor("example_sum", backbone="example_pyramid")
class SumHead(Head):
    """Sum of projected feature maps.

    Parameters
    ----------
    maps : FeatureMaps
        Channels and strides of the backbone's maps.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the projections.
    """

    def __init__(self, maps: FeatureMaps, num_classes: int, *, channels: int = 32) -> None:
        super().__init__(num_classes)
        self.projections = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in maps.channels)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w] at the size of the finest map."""
        size = features[0].shape[-2:]
        projected = [project(x) for project, x in zip(self.projections, features, strict=True)]
        total = sum(F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in projected)
        return self.classifier(F.relu(total))
