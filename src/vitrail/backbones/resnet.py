"""ResNets with the deep stem that timm has no name for: three 3×3 convolutions instead of one 7×7.

References
----------
K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385.
T. He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks", CVPR 2019, arXiv:1812.01187.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.backbones.timm import create
from vitrail.errors import ModelError

_DEEP_STEM = {"stem_width": 32, "stem_type": "deep"}


@register_backbone("resnet18c")
def resnet18c(
    *,
    pretrained: bool | str | Path = False,
    output_stride: int | None = None,
    in_channels: int = 3,
    out_indices: Sequence[int] | None = None,
    drop_path_rate: float | None = None,
    timm_dilation: bool = False,
) -> Backbone:
    """ResNet-18 with the deep stem ("V1c"); the arguments are those of `vitrail.backbones.timm.timm_backbone`."""
    return create(
        "resnet18",
        pretrained=_weights("resnet18c", pretrained),
        output_stride=output_stride,
        in_channels=in_channels,
        out_indices=out_indices,
        drop_path_rate=drop_path_rate,
        timm_dilation=timm_dilation,
        timm_arguments=_DEEP_STEM,
    )


@register_backbone("resnet34c")
def resnet34c(
    *,
    pretrained: bool | str | Path = False,
    output_stride: int | None = None,
    in_channels: int = 3,
    out_indices: Sequence[int] | None = None,
    drop_path_rate: float | None = None,
    timm_dilation: bool = False,
) -> Backbone:
    """ResNet-34 with the deep stem ("V1c"); the arguments are those of `vitrail.backbones.timm.timm_backbone`."""
    return create(
        "resnet34",
        pretrained=_weights("resnet34c", pretrained),
        output_stride=output_stride,
        in_channels=in_channels,
        out_indices=out_indices,
        drop_path_rate=drop_path_rate,
        timm_dilation=timm_dilation,
        timm_arguments=_DEEP_STEM,
    )


def _weights(name: str, pretrained: bool | str | Path) -> bool | str | Path:
    if pretrained is True:
        raise ModelError(f"no weights of {name!r} are published under timm's names: give a file as pretrained=PATH")
    return pretrained
