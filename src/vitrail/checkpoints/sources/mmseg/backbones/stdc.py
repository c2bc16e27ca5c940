"""STDC's encoder with its context path."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, check_norm, known_shape
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings

_SHAPES = {"STDCNet1": "stdc1", "STDCNet2": "stdc2"}
_REFINE: Names = {"conv_layer": "conv", "atten_conv_layer.1": "attention"}
RENAMING = Renaming(
    {
        **{f"backbone.stages.{i}": f"stem.{i}" for i in range(2)},
        **{f"backbone.stages.{i + 2}.*": (f"stages.{i}.*", {"layers": "convs"}) for i in range(3)},
        "arms.0": ("refine32", _REFINE),
        "arms.1": ("refine16", _REFINE),
        "convs.0": "smooth16",
        "convs.1": "smooth8",
        "conv_avg": "average",
        "ffm": (
            "fuse",
            {"conv0": "join", "attention.1.conv": "squeeze", "attention.2.conv": "excite"},
        ),
    }
)


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    trunk = settings.section("backbone_cfg")
    trunk.must_be("type", "STDCNet")
    name = known_shape(_SHAPES, trunk.take("stdc_type"), trunk.where)
    in_channels = trunk.take("in_channels")
    trunk.must_be("channels", (32, 64, 256, 512, 1024))
    trunk.must_be("bottleneck_type", "cat")
    trunk.must_be("num_convs", 4)
    trunk.must_be("act_cfg", {"type": "ReLU"})
    trunk.must_be("with_final_conv", False)
    check_norm(trunk, "BN", "SyncBN")
    trunk.pass_over("pretrained", "init_cfg")
    trunk.finish()
    settings.must_be("last_in_channels", (1024, 512))
    settings.must_be("out_channels", 128)
    settings.must_be("ffm_cfg", {"in_channels": 384, "out_channels": 256, "scale_factor": 4})
    settings.must_be("upsample_mode", "nearest")
    settings.must_be("align_corners", None)
    check_norm(settings, "BN", "SyncBN")
    return Encoder(name, in_channels=in_channels)


BACKBONES.add("stdc", BackboneRecord(("STDCContextPathNet",), r"stdc[12]", translate, RENAMING), module=__name__)
