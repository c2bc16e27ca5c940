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
from vitrail.backbones.timm_bridge import register_family, timm_backbone


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
    """
    backbone = timm_backbone(
        name,
        pretrained=pretrained,
        output_stride=output_stride,
        in_channels=in_channels,
        out_indices=out_indices,
        drop_path_rate=drop_path_rate,
        drop_rate=drop_rate,
    )
    if not project_act:
        for block in backbone.modules():
            if isinstance(block, MobileVitBlock):
                projection: Any = block.conv_proj
                projection.bn.act = nn.Identity()
    return backbone
