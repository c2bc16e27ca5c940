"""Necks for plain transformers: four maps of one stride to maps at four strides.

References
----------
H. Bao et al., "BEiT: BERT Pre-Training of Image Transformers", ICLR 2022, arXiv:2106.08254 (transposed convolutions).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

_SCALES = (4.0, 2.0, 1.0, 0.5)


class PatchPyramid(nn.Module):
    """Resize four maps by 4, 2 (transposed convolutions), 1 and 1/2 (max pooling)."""

    scales = _SCALES

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.up4 = nn.Sequential(
            nn.ConvTranspose2d(channels, channels, 2, stride=2),
            nn.BatchNorm2d(channels),
            nn.GELU(),
            nn.ConvTranspose2d(channels, channels, 2, stride=2),
        )
        self.up2 = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.down2 = nn.MaxPool2d(2, stride=2)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map four maps [B, C, h, w] to sizes 4h, 2h, h and h/2."""
        first, second, third, last = maps
        return [self.up4(first), self.up2(second), third, self.down2(last)]


class MultiLevelNeck(nn.Module):
    """1×1 convolution, bilinear resize and 3×3 convolution for each map.

    Parameters
    ----------
    in_channels : int
        Channels of the four maps.
    channels : int
        Channels of the results.
    """

    scales = _SCALES

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.lateral = nn.ModuleList(nn.Conv2d(in_channels, channels, 1) for _ in _SCALES)
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in _SCALES)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map four maps [B, C, h, w] to [B, D, …] at sizes 4h, 2h, h and h/2."""
        results = []
        for x, scale, lateral, smooth in zip(maps, self.scales, self.lateral, self.smooth, strict=True):
            results.append(smooth(F.interpolate(lateral(x), scale_factor=scale, mode="bilinear", align_corners=False)))
        return results
