"""Depthwise separable convolutions, and convolutions with group norm."""

from __future__ import annotations

from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.layers.layout import in_layout_of

# From this dilation on, depthwise convolutions on the CPU are several times slower in channels_last.
_WIDE_DILATION = 6


class WideDepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that is always computed in contiguous (NCHW) layout on the CPU.

    The output has the memory format of the input.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve [B, C, h, w]."""
        if x.device.type != "cpu":
            return super().forward(x)
        # model.to(memory_format=channels_last) gives the weights [C, 1, k, k] strides that a view does not have.
        weight = self.weight.flatten().view(self.weight.shape)
        return in_layout_of(self._conv_forward(x.contiguous(), weight, self.bias), x)


class DepthwiseSeparableConv(nn.Module):
    """A depthwise convolution and a 1×1 convolution, each followed by batch norm and ReLU.

    Parameters
    ----------
    in_channels, out_channels : int
        Input and output channels.
    kernel_size, stride, dilation : int
        Of the depthwise convolution, which is padded so that stride 1 keeps the size.
    depthwise_act : bool
        Whether the depthwise convolution is followed by a ReLU.
    depthwise_norm : bool
        Whether it is followed by batch norm and ReLU at all; otherwise the 1×1 convolution comes at once.

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
        depthwise_norm: bool = True,
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
        if not depthwise_norm:
            self.depthwise.bn = nn.Identity()
        if dilation >= _WIDE_DILATION:
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


def conv_group_norm(
    in_channels: int, out_channels: int, kernel_size: int, *, act: bool = True, bias: bool = False
) -> nn.Sequential:
    """Return a convolution that keeps the size, group norm with 32 groups, and ReLU unless `act` is False."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)
    return nn.Sequential(conv, nn.GroupNorm(32, out_channels), nn.ReLU(inplace=True) if act else nn.Identity())
