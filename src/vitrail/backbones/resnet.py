"""ResNets: timm's, with the dilations of published segmentation models, and two with the deep stem that timm lacks.

The deep stem is three 3×3 convolutions instead of one 7×7.

References
----------
K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385.
T. He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks", CVPR 2019, arXiv:1812.01187.
L.-C. Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017, arXiv:1706.05587 (multi-grid).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.backbones.dilation import dilate_whole_stages, set_multi_grid, set_stage_dilations
from vitrail.backbones.timm_bridge import create, register_family, timm_backbone
from vitrail.errors import ModelError

_DEEP_STEM = {"stem_width": 32, "stem_type": "deep"}
_STAGES = 4


@register_family("resnet")
def resnet(
    name: str,
    constructor: Mapping[str, Any] | None = None,
    *,
    pretrained: bool | str | Path = False,
    output_stride: int | None = None,
    in_channels: int = 3,
    out_indices: Sequence[int] | None = None,
    drop_path_rate: float | None = None,
    drop_rate: float | None = None,
    norm_outputs: bool | None = None,
    timm_dilation: bool = False,
    stage_dilations: Sequence[int] | None = None,
    multi_grid: Sequence[int] | None = None,
    dilate_all: bool = False,
) -> Backbone:
    """Build a ResNet (or ResNeXt, ResNet-D, SE-ResNet, …) of timm: maps at strides 4, 8, 16, 32, or less when dilated.

    Parameters
    ----------
    name : str
        timm's name: "resnet50" has a stem of one 7×7 convolution, "resnet50c" the deep stem ("V1c"), "resnet50s"
        one twice as wide, "resnet50d" with the deep stem and averaging shortcuts ("V1d").
    constructor, pretrained, output_stride, in_channels, out_indices, drop_path_rate, drop_rate, norm_outputs
        See `vitrail.backbones.timm_bridge.timm_backbone`.
    timm_dilation : bool
        See `vitrail.backbones.timm_bridge.timm_backbone`.
    stage_dilations : four of int, optional
        Dilation of each stage, halved in its first block, for models that are dilated although their strides are
        kept: (1, 1, 2, 4) in MMSegmentation's PSPNet "r50-d32".
    multi_grid : sequence of int, optional
        Dilation of each block of the last stage (arXiv:1706.05587): (1, 2, 4) in MMSegmentation's "d16-mg124".
    dilate_all : bool
        Whether all convolutions of a stage whose stride is removed have its dilation, those of the first block and
        both of a basic block included, as in segmentation_models_pytorch.

    Raises
    ------
    ModelError
        When the number of dilations is not that of the stages, or of the blocks in the last stage.
    """
    backbone = timm_backbone(
        name,
        constructor,
        pretrained=pretrained,
        output_stride=output_stride,
        in_channels=in_channels,
        out_indices=out_indices,
        drop_path_rate=drop_path_rate,
        drop_rate=drop_rate,
        norm_outputs=norm_outputs,
        timm_dilation=timm_dilation,
    )
    if stage_dilations is not None:
        _check_count(name, "stage_dilations", stage_dilations, _STAGES, "stages")
        set_stage_dilations(backbone.encoder, stage_dilations)
    if multi_grid is not None:
        _check_count(name, "multi_grid", multi_grid, len(backbone.encoder.layer4), "blocks in its last stage")
        set_multi_grid(backbone.encoder, multi_grid)
    if dilate_all and output_stride is not None:
        dilate_whole_stages(backbone.encoder, output_stride)
    return backbone


def _check_count(name: str, argument: str, rates: Sequence[int], count: int, what: str) -> None:
    if len(rates) != count:
        raise ModelError(f"backbone {name!r} has {count} {what}; {argument}={tuple(rates)} has {len(rates)} entries")


def _register_deep_stem(name: str, plain: str) -> None:
    """Register the ResNet of timm called `plain` with the deep stem as `name`."""

    def build(
        *,
        pretrained: bool | str | Path = False,
        output_stride: int | None = None,
        in_channels: int = 3,
        out_indices: Sequence[int] | None = None,
        drop_path_rate: float | None = None,
        timm_dilation: bool = False,
        multi_grid: Sequence[int] | None = None,
    ) -> Backbone:
        options = {
            "pretrained": _weights(name, pretrained),
            "output_stride": output_stride,
            "in_channels": in_channels,
            "out_indices": out_indices,
            "drop_path_rate": drop_path_rate,
            "timm_dilation": timm_dilation,
            "multi_grid": multi_grid,
        }
        return create(plain, options, constructor=_DEEP_STEM)

    build.__doc__ = f"""{plain.replace("resnet", "ResNet-")} with the deep stem ("V1c"); arguments as of `resnet`."""
    register_backbone(name)(build)


_register_deep_stem("resnet18c", "resnet18")
_register_deep_stem("resnet34c", "resnet34")


def _weights(name: str, pretrained: bool | str | Path) -> bool | str | Path:
    if pretrained is True:
        raise ModelError(f"no weights of {name!r} are published under timm's names: give a file as pretrained=PATH")
    return pretrained
