"""MobileNetV3-Large as torchvision's segmentation models read it: a map inside of a stage, and the last one.

References
----------
A. Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.backbones.dilation import dilate_as_published
from vitrail.backbones.timm_bridge import TimmBackbone
from vitrail.backbones.timm_model import build_model
from vitrail.errors import ModelError

_NAME = "mobilenetv3_large_100"
_STRIDES = (8, 16, 32)
_EARLY = 2  # the stage behind whose first block the finer map is taken


class EarlyMobileNetV3(TimmBackbone):
    """MobileNetV3 of timm, with the map behind the first block of the stage at stride 8, and the last map."""

    def __init__(self, model: Any) -> None:
        super().__init__(model, [_EARLY, len(model.feature_info) - 1])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into two maps."""
        net = self.encoder
        x = net.bn1(net.conv_stem(images))
        maps = []
        for index, stage in enumerate(net.blocks):
            for place, block in enumerate(stage):
                x = block(x)
                if (index, place) == (_EARLY, 0):
                    maps.append(x)
        return [*maps, x]


@register_backbone("torchvision_mobilenetv3_large")
def torchvision_mobilenetv3_large(
    *,
    pretrained: bool | str | Path = False,
    output_stride: int | None = None,
    in_channels: int = 3,
    drop_path_rate: float | None = None,
) -> Backbone:
    """MobileNetV3-Large of torchvision's segmentation models (arXiv:1905.02244): 40 channels at stride 8, 960 at 32.

    Parameters
    ----------
    pretrained : path, optional
        A local file of weights under timm's names.
    output_stride : int, optional
        The stride of the last map: 16 in torchvision's models.
    in_channels : int
        Channels of the images.
    drop_path_rate : float, optional
        Stochastic depth: the probability that the last block is skipped; earlier blocks have proportionally less.

    Raises
    ------
    ModelError
        For another output stride, and where published weights are asked for.
    """
    if pretrained is True:
        raise ModelError("no weights of this encoder are published alone: give a file as pretrained=PATH")
    if output_stride not in (None, *_STRIDES):
        raise ModelError(
            f"output_stride of this encoder is one of {', '.join(map(str, _STRIDES))}, not {output_stride}"
        )
    model = build_model(_NAME, pretrained=pretrained, in_chans=in_channels, drop_path_rate=drop_path_rate, bn_eps=1e-3)
    if output_stride is not None:
        dilate_as_published(_NAME, model, output_stride)
    return EarlyMobileNetV3(model)
