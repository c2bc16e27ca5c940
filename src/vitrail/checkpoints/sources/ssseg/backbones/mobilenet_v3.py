"""MobileNetV3."""

from __future__ import annotations

from vitrail.checkpoints.plain import as_tuples
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.mobilenet_v3 import OUT_INDICES, renaming
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, Config, named_shape

_SHAPES = {"mobilenetv3_large": "tf_mobilenetv3_large_100", "mobilenetv3_small": "tf_mobilenetv3_small_100"}


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    name = named_shape(_SHAPES, values)
    key = (values["arch_type"], as_tuples(values.get("out_indices", (1, 3, 16))))
    if key not in OUT_INDICES:
        raise UnsupportedError(f"vitrail does not know the maps {key[1]} of SSSegmentation's MobileNetV3 {key[0]}")
    return Encoder(name, values["outstride"], {"out_indices": list(OUT_INDICES[key])}, order=(0, 1, 2))


BACKBONES.add(
    "mobilenet_v3",
    BackboneRecord(("MobileNetV3",), r"tf_mobilenetv3_(large|small)_100", translate, renaming),
    module=__name__,
)
