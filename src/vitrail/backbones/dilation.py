"""Dilation of timm's encoders as in the published segmentation models.

timm, MMSegmentation and SSSegmentation remove strides at the same places but put the dilation on different
convolutions. Weights trained with one do not work with the other, so the functions here turn timm's dilated encoders
into those that the published weights were trained with:

- ResNets of basic blocks: only the first convolution of a block is dilated (timm dilates both);
- average-pooled shortcuts ("d" variants, ResNeSt): no pooling at removed strides (timm pools a dilated window);
- MobileNetV2: only the first block of a stage is dilated, by the stage's own rate;
- MobileNetV3: every block of a stage is dilated by the stage's rate, the first included.

Bottleneck ResNets agree already: the first block of a stage has the rate of the stage before.

A few published ResNets use other rates: see `set_stage_dilations` and `set_multi_grid`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from timm.models.resnet import BasicBlock, ResNet
from torch import nn

from vitrail.backbones.interleaved import InterleavedConv2d

_STEM_STRIDE = 2
_MOBILENET_V2 = (1, 2, 2, 2, 1, 2, 1)
_MOBILENET_V3_LARGE = (1, 2, 2, 2, 1, 2, 1)
_MOBILENET_V3_SMALL = (2, 2, 2, 1, 2, 1)


def dilate_as_published(name: str, model: nn.Module, output_stride: int) -> None:
    """Change the dilation of a timm model, built with `output_stride`, to that of the published weights; in place.

    Models without published segmentation weights keep timm's dilation.
    MobileNetV3, which timm does not dilate at all, also has its strides removed here.
    """
    if isinstance(model, ResNet):
        _residual(model)
    elif name.startswith("mobilenetv2"):
        _mobilenet(model, _rates(_MOBILENET_V2, output_stride), later_blocks=False)
    elif name.startswith(("mobilenetv3_large", "tf_mobilenetv3_large")):
        _remove_strides(model, _MOBILENET_V3_LARGE, output_stride)
        _mobilenet(model, _rates(_MOBILENET_V3_LARGE, output_stride), later_blocks=True)
    elif name.startswith(("mobilenetv3_small", "tf_mobilenetv3_small")):
        _remove_strides(model, _MOBILENET_V3_SMALL, output_stride)
        _mobilenet(model, _rates(_MOBILENET_V3_SMALL, output_stride), later_blocks=True)


def _rates(strides: Sequence[int], output_stride: int) -> list[int]:
    """Return each stage's dilation when strides beyond `output_stride` are removed."""
    return [max(1, reached // output_stride) for reached in _reached(strides)]


def _reached(strides: Sequence[int]) -> list[int]:
    return list(accumulate(strides, int.__mul__, initial=_STEM_STRIDE))[1:]


def _residual(model: ResNet) -> None:
    for stage in _residual_stages(model):
        for block in stage:
            if isinstance(block, BasicBlock):
                _set_dilation(block.conv2, 1)
        shortcut = getattr(stage[0], "downsample", None)
        if shortcut is not None and _stride(shortcut[0]) == 1 and not isinstance(shortcut[0], nn.Conv2d):
            shortcut[0] = nn.Identity()


def set_stage_dilations(model: Any, rates: Sequence[int]) -> None:
    """Dilate the blocks of a ResNet's stages by these rates, strides staying as they are; in place.

    The first block of a stage has half the rate, because its input comes from the previous stage.
    """
    for stage, rate in zip(_residual_stages(model), rates, strict=True):
        _dilate_blocks(stage, [max(1, rate // 2), *[rate] * (len(stage) - 1)])


def set_multi_grid(model: Any, rates: Sequence[int]) -> None:
    """Set the dilation of each block of a ResNet's last stage; in place."""
    _dilate_blocks(_residual_stages(model)[-1], rates)


def dilate_whole_stages(model: Any, output_stride: int) -> None:
    """Dilate every convolution of a ResNet's stages beyond `output_stride` by the stage's own rate; in place.

    That of segmentation_models_pytorch, where the first block of a stage and both convolutions of a basic block are
    dilated alike.
    """
    for index, stage in enumerate(_residual_stages(model)):
        rate = _STEM_STRIDE ** (index + 2) // output_stride
        if rate > 1:
            for convolution in stage.modules():
                if isinstance(convolution, nn.Conv2d):
                    _set_dilation(convolution, rate)


def _residual_stages(model: Any) -> list[Any]:
    return [model.layer1, model.layer2, model.layer3, model.layer4]


def _dilate_blocks(stage: Any, rates: Sequence[int]) -> None:
    for block, rate in zip(stage, rates, strict=True):
        _set_dilation(block.conv1 if isinstance(block, BasicBlock) else block.conv2, rate)


def _stride(module: nn.Module) -> int | None:
    stride = getattr(module, "stride", None)
    return stride[0] if isinstance(stride, tuple) else stride


def _remove_strides(model: nn.Module, strides: Sequence[int], output_stride: int) -> None:
    """Remove strides beyond `output_stride`, which timm does for other encoders but not for MobileNetV3."""
    stages: nn.Sequential = model.blocks  # type: ignore[assignment]
    for stage, reached in zip(stages, _reached(strides), strict=False):
        first = next(_depthwise(stage), None)
        if first is not None and reached > output_stride:
            first.stride = (1, 1)
    for level in model.feature_info:  # type: ignore[union-attr]
        level["reduction"] = min(level["reduction"], output_stride)


def _mobilenet(model: nn.Module, rates: Sequence[int], *, later_blocks: bool) -> None:
    stages: nn.Sequential = model.blocks  # type: ignore[assignment]
    for stage, rate in zip(stages, rates, strict=False):  # a last stage of 1×1 convolutions has no dilation
        for index, convolution in enumerate(_depthwise(stage)):
            _set_dilation(convolution, rate if index == 0 or later_blocks else 1)
        for block in stage.children():
            _interleave(block)


def _interleave(block: Any) -> None:
    """Replace a 5×5 depthwise convolution of dilation 4 by the same function in a faster form."""
    slow: nn.Conv2d | None = getattr(block, "conv_dw", None)
    if slow is None or slow.kernel_size != (5, 5) or slow.dilation != (4, 4) or slow.stride != (1, 1):
        return
    block.conv_dw = InterleavedConv2d(slow.in_channels, 5, 4).requires_grad_(slow.weight.requires_grad)
    block.conv_dw.weight = slow.weight


def _depthwise(stage: nn.Module) -> Iterator[nn.Conv2d]:
    for block in stage.children():
        if isinstance(getattr(block, "conv_dw", None), nn.Conv2d):
            yield block.conv_dw  # type: ignore[misc]


def _set_dilation(convolution: nn.Conv2d, rate: int) -> None:
    convolution.dilation = (rate, rate)
    if convolution.padding != (0, 0):  # "same" padding, computed from the input size, is stored as zero
        convolution.padding = tuple(rate * (k - 1) // 2 for k in convolution.kernel_size)
