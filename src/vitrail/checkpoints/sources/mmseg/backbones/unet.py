"""U-Net."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, check_norm
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings


def names(convolution: Names) -> Names:
    """Return the names of a U-Net whose convolutions with norms name their members so."""
    return {
        "encoder.0.0.convs.*": ("down.0.*", convolution),
        "encoder.*.1.convs.*": ("down.*.*", convolution),
        "decoder.*.conv_block.convs.*": ("up.*.convs.*", convolution),
        "decoder.*.upsample.interp_upsample.1": ("up.*.project", convolution),
    }


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    settings.must_be("num_stages", 5)
    settings.must_be("strides", (1, 1, 1, 1, 1))
    settings.must_be("enc_num_convs", (2, 2, 2, 2, 2))
    settings.must_be("dec_num_convs", (2, 2, 2, 2))
    settings.must_be("downsamples", (True, True, True, True))
    settings.must_be("enc_dilations", (1, 1, 1, 1, 1))
    settings.must_be("dec_dilations", (1, 1, 1, 1))
    settings.must_be("conv_cfg", None)
    settings.must_be("act_cfg", {"type": "ReLU"})
    settings.must_be("upsample_cfg", {"type": "InterpConv"})
    check_norm(settings, "BN", "SyncBN")
    options = {"base_channels": settings.take("base_channels", 64)}
    return Encoder("unet_s5", None, options, settings.take("in_channels", 3), order=(0, 1, 2, 3, 4))


BACKBONES.add("unet", BackboneRecord(("UNet",), r"unet_\w+", translate, Renaming(names({}))), module=__name__)
