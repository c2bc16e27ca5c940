"""Depthwise convolution with large dilation, computed on interleaved parts of the map."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones.windows import pad_to_multiple

_PARTS = 2  # each way


class InterleavedConv2d(nn.Conv2d):
    """A depthwise convolution at stride 1 that keeps the size of the map, with an even dilation.

    The same function as `nn.Conv2d`. On the CPU the four maps of every second row and column are convolved at half the
    dilation, stacked in the batch: PyTorch has fast CPU kernels for 5×5 at dilation 2, but none at dilation 4, where it
    takes ten times as long.
    """

    def __init__(self, channels: int, kernel_size: int, dilation: int) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(
            channels, channels, kernel_size, padding=padding, dilation=dilation, groups=channels, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        if x.device.type != "cpu":
            return super().forward(x)
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, (_PARTS, _PARTS), dims=(2, 3))
        batch, channels, *padded = x.shape
        parts = x.unflatten(3, (-1, _PARTS)).unflatten(2, (-1, _PARTS)).permute(3, 5, 0, 1, 2, 4)
        parts = F.conv2d(
            parts.flatten(0, 2),
            self.weight,
            padding=(int(self.padding[0]) // _PARTS, int(self.padding[1]) // _PARTS),
            dilation=self.dilation[0] // _PARTS,
            groups=self.groups,
        )
        parts = parts.unflatten(0, (_PARTS, _PARTS, batch)).permute(2, 3, 4, 0, 5, 1)
        return parts.reshape(batch, channels, *padded)[..., :height, :width]
