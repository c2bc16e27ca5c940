"""U-Net."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.unet import names
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, CONV_NORM, Config, named_shape

_SHAPES = {"unets5os16": "unet_s5"}


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    return Encoder(named_shape(_SHAPES, values))


BACKBONES.add("unet", BackboneRecord(("UNet",), r"unet_\w+", translate, Renaming(names(CONV_NORM))), module=__name__)
