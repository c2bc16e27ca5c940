"""MobileNetV2."""

from __future__ import annotations

from vitrail.checkpoints.plain import as_tuples
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, check_norm
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError

# Strides and dilations of the seven stages, by output stride.
_STRIDES = {
    ((1, 2, 2, 2, 1, 2, 1), (1, 1, 1, 1, 1, 1, 1)): None,
    ((1, 2, 2, 2, 1, 1, 1), (1, 1, 1, 1, 1, 2, 2)): 16,
    ((1, 2, 2, 1, 1, 1, 1), (1, 1, 1, 2, 2, 4, 4)): 8,
}
_FIRST_BLOCK: Names = {  # which does not widen
    "conv.0.conv": "conv_dw",
    "conv.0.bn": "bn1",
    "conv.1.conv": "conv_pw",
    "conv.1.bn": "bn2",
}
_BLOCK: Names = {
    "conv.0.conv": "conv_pw",
    "conv.0.bn": "bn1",
    "conv.1.conv": "conv_dw",
    "conv.1.bn": "bn2",
    "conv.2.conv": "conv_pwl",
    "conv.2.bn": "bn3",
}
RENAMING = Renaming(
    {
        "conv1.conv": "encoder.conv_stem",
        "conv1.bn": "encoder.bn1",
        "layer1.0": ("encoder.blocks.0.0", _FIRST_BLOCK),
        **{f"layer{i + 1}.*": (f"encoder.blocks.{i}.*", _BLOCK) for i in range(1, 7)},
    }
)


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    key = (as_tuples(settings.take("strides")), as_tuples(settings.take("dilations")))
    if key not in _STRIDES:
        raise UnsupportedError(f"{settings.where} has strides and dilations {key}")
    settings.must_be("widen_factor", 1.0)
    settings.must_be("out_indices", (1, 2, 4, 6))
    check_norm(settings, "BN", "SyncBN")
    return Encoder("mobilenetv2_100", _STRIDES[key])


BACKBONES.add(
    "mobilenet_v2", BackboneRecord(("MobileNetV2",), r"mobilenetv2_\w+", translate, RENAMING), module=__name__
)
