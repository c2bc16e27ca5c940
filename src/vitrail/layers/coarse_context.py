"""Context modules that several methods choose from: atrous or pyramid pooling, brought to a number of channels."""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.errors import ModelError
from vitrail.layers.aspp import ASPP
from vitrail.layers.pyramid_pooling import PyramidPooling


class PooledContext(nn.Module):
    """Pyramid pooling, and a 3×3 convolution that brings its output to `channels`."""

    def __init__(
        self, in_channels: int, channels: int, pool_sizes: Sequence[int], *, align_corners: bool = False
    ) -> None:
        super().__init__()
        self.pyramid = PyramidPooling(in_channels, channels, pool_sizes, align_corners=align_corners)
        self.fuse = ConvNormAct(self.pyramid.out_channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, channels, h, w]."""
        return self.fuse(self.pyramid(x))


def context_module(
    kind: str,
    in_channels: int,
    channels: int,
    *,
    dilations: Sequence[int],
    pool_sizes: Sequence[int],
    align_corners: bool = False,
) -> nn.Module | None:
    """Return the context module of a kind.

    Parameters
    ----------
    kind : {"none", "aspp", "ppm"}
        Nothing, the atrous pyramid of DeepLabv3, or the pyramid pooling of PSPNet.
    in_channels, channels : int
        Of its input and its output.
    dilations : sequence of int
        Of the atrous pyramid.
    pool_sizes : sequence of int
        Sides of the grids of the pyramid pooling.
    align_corners : bool
        How pooled maps are resized.

    Raises
    ------
    ModelError
        For another kind.
    """
    if kind == "none":
        return None
    if kind == "aspp":
        return ASPP(in_channels, channels, dilations)
    if kind == "ppm":
        return PooledContext(in_channels, channels, pool_sizes, align_corners=align_corners)
    raise ModelError(f"context must be 'none', 'aspp' or 'ppm', not {kind!r}")
