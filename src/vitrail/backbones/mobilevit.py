"""MobileViT: convolutions and transformer blocks; timm's, and the variant of published segmentation models.

References
----------
S. Mehta, M. Rastegari, "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer", ICLR 2022,
arXiv:2110.02178.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from timm.models.mobilevit import MobileVitBlock
from torch import nn

from vitrail.backbones.backbone import Backbone
from vitrail.backbones.timm_bridge import TimmBackbone, register_family, timm_backbone

_STEM_STRIDE = 2


@register_family("mobilevit")
def mobilevit(
    name: str,
    *,
    pretrained: bool | str | Path = False,
    output_stride: int | None = None,
    in_channels: int = 3,
    out_indices: Sequence[int] | None = None,
    drop_path_rate: float | None = None,
    drop_rate: float | None = None,
    project_act: bool = True,
    final_conv: bool = True,
    dilate_blocks: bool = True,
) -> Backbone:
    """Build a MobileViT of timm's (arXiv:2110.02178): maps at strides 4, 8, 16 and 32, or less when dilated.

    Parameters
    ----------
    name : str
        timm's name, such as "mobilevit_s" or "mobilevitv2_100".
    pretrained, output_stride, in_channels, out_indices, drop_path_rate, drop_rate
        See `vitrail.backbones.timm_bridge.timm_backbone`.
    project_act : bool
        Whether an activation follows the projection behind a transformer in the first version: True in the authors'
        code and timm, False in SSSegmentation. The second version has none.
    final_conv : bool
        Whether the last map of the first version is widened by a convolution, as for classification; the authors'
        segmentation models read it before that.
    dilate_blocks : bool
        Whether the convolutions of the blocks are dilated where strides are removed, as in timm; in the authors'
        segmentation models only the convolutions that have lost a stride are, by what was lost before them.
    """
    backbone = timm_backbone(
        name,
        pretrained=pretrained,
        output_stride=output_stride if dilate_blocks else None,
        in_channels=in_channels,
        out_indices=out_indices,
        drop_path_rate=drop_path_rate,
        drop_rate=drop_rate,
    )
    if not final_conv:
        _leave_out_final_conv(backbone)
    if output_stride is not None and not dilate_blocks:
        _remove_strides(backbone, output_stride)
    if not project_act:
        for block in backbone.modules():
            if isinstance(block, MobileVitBlock):
                projection: Any = block.conv_proj
                projection.bn.act = nn.Identity()
    return backbone


def _leave_out_final_conv(backbone: TimmBackbone) -> None:
    net = backbone.encoder
    if isinstance(net.final_conv, nn.Identity) or len(net.stages) - 1 not in backbone.indices:
        return
    net.final_conv = nn.Identity()
    last = net.stages[-1][-1].conv_fusion.conv.out_channels
    backbone.channels = (*backbone.channels[:-1], last)


def _remove_strides(backbone: TimmBackbone, output_stride: int) -> None:
    """Remove the strides beyond `output_stride`; each convolution is dilated by the strides removed before it."""
    stride, dilation = _STEM_STRIDE, 1
    for stage in backbone.encoder.stages[1:]:
        stride *= 2
        if stride > output_stride:
            convolution: nn.Conv2d = stage[0].conv2_kxk.conv
            convolution.stride = (1, 1)
            convolution.dilation = convolution.padding = (dilation, dilation)
            dilation *= 2
    backbone.strides = tuple(min(each, output_stride) for each in backbone.strides)
