"""Convolution blocks."""

from __future__ import annotations

from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.layers.layout import in_layout_of

# From this dilation on, depthwise convolutions on the CPU take several times as long with channels last.
_WIDE = 6


class WideDepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that the CPU computes in plain layout, whatever the layout around it."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve [B, C, h, w]."""
        if x.device.type != "cpu":
            return super().forward(x)
        # Weights [C, 1, k, k] of a model that was put channels last keep strides that say so; a view has plain ones.
        weight = self.weight.flatten().view(self.weight.shape)
        return in_layout_of(self._conv_forward(x.contiguous(), weight, self.bias), x)


class DepthwiseSeparableConv(nn.Module):
    """A depthwise convolution followed by a pointwise one, each with batch norm and ReLU.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels before and after.
    kernel_size, stride, dilation : int
        Of the depthwise convolution, padded to keep the size at stride 1.
    depthwise_act : bool
        Whether a ReLU stands between the two.

    References
    ----------
    Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017, arXiv:1610.02357.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        depthwise_act: bool = True,
    ) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(
            in_channels,
            in_channels,
            kernel_size,
            stride=stride,
            dilation=dilation,
            groups=in_channels,
            apply_act=depthwise_act,
        )
        if dilation >= _WIDE:
            self.depthwise.conv = WideDepthwiseConv2d(
                in_channels,
                in_channels,
                kernel_size,
                stride=stride,
                padding=self.depthwise.conv.padding,
                dilation=dilation,
                groups=in_channels,
                bias=False,
            )
        self.pointwise = ConvNormAct(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, D, h / stride, w / stride]."""
        return self.pointwise(self.depthwise(x))
