"""ResNeSt."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.resnet import DEEP_STEM
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, check_norm, known_shape, resnet_dilation
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError

_SHAPES = {(50, 64): "resnest50d", (101, 128): "resnest101e", (200, 128): "resnest200e", (269, 128): "resnest269e"}
RENAMING = Renaming({"": ("encoder", DEEP_STEM)})


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    name = known_shape(_SHAPES, (settings.take("depth"), settings.take("stem_channels", 64)), settings.where)
    settings.must_be("radix", 2)
    settings.must_be("reduction_factor", 4)
    settings.must_be("avg_down_stride", True)
    settings.must_be("groups", 1)
    stride, options = resnet_dilation(settings)
    if options:
        raise UnsupportedError(f"{settings.where} is dilated at its own stride")
    settings.must_be("num_stages", 4)
    settings.must_be("out_indices", (0, 1, 2, 3))
    settings.must_be("style", "pytorch")
    check_norm(settings, "BN", "SyncBN")
    return Encoder(name, stride)


BACKBONES.add("resnest", BackboneRecord(("ResNeSt",), r"resnest\w+", translate, RENAMING), module=__name__)
