"""PIDNet's encoder."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.ddrnet import pyramid_names
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, check_norm, known_shape
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings
from vitrail.recipes import ModelConfig

# By the channels of the stem and of the pyramid, and the blocks of a stage of the stem and of the integral branch.
_SHAPES = {(32, 96, 2, 3): "pidnet_s", (64, 96, 2, 3): "pidnet_m", (64, 112, 3, 4): "pidnet_l"}
_SHORTCUT: Names = {"downsample": "shortcut"}


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming, which depends on the kind of the pyramid and on which blocks stand alone."""
    large = (model.backbone or "").startswith("pidnet_l")
    pyramid = dict(pyramid_names())
    if not large:
        pyramid["processes"] = "process.0"
    return Renaming(
        {
            **{f"stem.{i}.*": (f"stem.{i}.*", _SHORTCUT) for i in (2, 4)},
            "i_branch_layers.*.*": ("integral.*.*", _SHORTCUT),
            "p_branch_layers.*.*": ("proportional.*.*", _SHORTCUT),
            "d_branch_layers.0": ("derivative.0.0", _SHORTCUT),
            ("d_branch_layers.1" if large else "d_branch_layers.1.0"): ("derivative.1.0", _SHORTCUT),
            "d_branch_layers.2.0": ("derivative.2.0", _SHORTCUT),
            **{f"compression_{i + 1}": f"compress.{i}" for i in range(2)},
            **{f"diff_{i + 1}": f"differ.{i}" for i in range(2)},
            **{f"pag_{i + 1}": (f"attend.{i}", {"f_i": "context", "f_p": "detail"}) for i in range(2)},
            "spp": ("pyramid", pyramid),
            "dfm": ("fuse", {"f_i": "context", "f_p": "detail"}),
        }
    )


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    names = ("channels", "ppm_channels", "num_stem_blocks", "num_branch_blocks")
    key = tuple(settings.take(name, default) for name, default in zip(names, (64, 96, 2, 3), strict=True))
    settings.must_be("align_corners", False)
    settings.must_be("act_cfg", {"type": "ReLU", "inplace": True})
    check_norm(settings, "BN", "SyncBN")
    name = known_shape(_SHAPES, key, settings.where)
    return Encoder(name, in_channels=settings.take("in_channels", 3), order=(0, 1, 2))


BACKBONES.add("pidnet", BackboneRecord(("PIDNet",), r"pidnet_[sml]", translate, renaming), module=__name__)
