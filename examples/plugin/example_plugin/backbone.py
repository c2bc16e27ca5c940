"""A backbone: feature maps at strides 4, 8 and 16 from strided convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from vitrail import Backbone, register_backbone


@register_backbone("example_pyramid")
class Pyramid(Backbone):
    """Three strided convolutions after a stem.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    width : int
        Channels of the first map; each further map has twice as many.
    """

    strides = (4, 8, 16)
    stage_prefixes = (("stem.",), ("stages.0.",), ("stages.1.",), ("stages.2.",))

    def __init__(self, *, in_channels: int = 3, width: int = 16) -> None:
        super().__init__()
        self.channels = (width, 2 * width, 4 * width)
        self.stem = _halve(in_channels, width)
        self.stages = nn.ModuleList(
            _halve(narrow, wide) for narrow, wide in zip((width, *self.channels), self.channels, strict=False)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return one map per stage, finest first."""
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(self._through([stage], maps[-1]))
        return maps[1:]


def _halve(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
