"""MobileNetV2 as TensorFlow computes it: timm's, with padding at the bottom and right first, and its epsilon.

References
----------
M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, arXiv:1801.04381.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.backbones.timm_bridge import create
from vitrail.errors import ModelError

_TENSORFLOW = {"pad_type": "same", "bn_eps": 1e-3}


def _register(width: str) -> None:
    """Register timm's MobileNetV2 of a width in hundredths."""
    name = f"tf_mobilenetv2_{width}"

    def build(
        *,
        pretrained: bool | str | Path = False,
        output_stride: int | None = None,
        in_channels: int = 3,
        out_indices: Sequence[int] | None = None,
        drop_path_rate: float | None = None,
    ) -> Backbone:
        if pretrained is True:
            raise ModelError(f"no weights of {name!r} are published under timm's names: give a file as pretrained=PATH")
        options = {
            "pretrained": pretrained,
            "output_stride": output_stride,
            "in_channels": in_channels,
            "out_indices": out_indices,
            "drop_path_rate": drop_path_rate,
            "timm_dilation": True,
        }
        return create(f"mobilenetv2_{width}", options, constructor=_TENSORFLOW)

    build.__doc__ = f"""MobileNetV2 (×{int(width) / 100:g}) as TensorFlow computes it: maps at strides 4, 8, 16 and 32.

    Parameters
    ----------
    pretrained, output_stride, in_channels, out_indices, drop_path_rate
        See `vitrail.backbones.timm_bridge.timm_backbone`; dilated as in TensorFlow and timm.
    """
    register_backbone(name)(build)


for _width in ("035", "050", "100", "140"):
    _register(_width)
