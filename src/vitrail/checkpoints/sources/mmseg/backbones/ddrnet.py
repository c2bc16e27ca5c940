"""DDRNet's encoder."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, check_norm, known_shape
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings

# By the channels of the stem and of the pyramid.
_SHAPES = {(32, 128): "ddrnet_23_slim", (64, 128): "ddrnet_23"}
_SHORTCUT: Names = {"downsample.0": "shortcut.conv", "downsample.1": "shortcut.bn"}


def pyramid_names() -> Names:
    """Return the names of an aggregation pyramid."""
    return {
        "scales.0": "finest",
        **{f"scales.{i + 1}": f"coarser.{i}" for i in range(4)},
        "processes": "process",
        "compression": "compress",
    }


RENAMING = Renaming(
    {
        **{f"stem.{i}.*": (f"stem.{i}.*", _SHORTCUT) for i in (2, 4)},
        "context_branch_layers.*.*": ("context.*.*", _SHORTCUT),
        "spatial_branch_layers.*.*": ("spatial.*.*", _SHORTCUT),
        **{f"compression_{i + 1}": f"compress.{i}" for i in range(2)},
        "down_1": "down.0.0",
        "down_2": "down.1",
        "spp": ("pyramid", pyramid_names()),
    }
)


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    key = (settings.take("channels", 32), settings.take("ppm_channels", 128))
    settings.must_be("align_corners", False)
    settings.must_be("act_cfg", {"type": "ReLU", "inplace": True})
    check_norm(settings, "BN", "SyncBN")
    name = known_shape(_SHAPES, key, settings.where)
    return Encoder(name, in_channels=settings.take("in_channels", 3), order=(0, 1))


BACKBONES.add("ddrnet", BackboneRecord(("DDRNet",), r"ddrnet_\w+", translate, RENAMING), module=__name__)
