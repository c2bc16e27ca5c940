"""CGNet's encoder."""

from __future__ import annotations

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, check_norm
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings


def names(convolution: Names) -> Names:
    """Return the names of a CGNet whose convolutions with norm and activation name their members so."""
    block: Names = {
        "conv1x1": ("reduce", convolution),
        "f_loc": "local",
        "f_sur": "surround",
        "bn": "joint.norm",
        "activate": "joint.act",
        "bottleneck": "project",
        "f_glo.fc": "context.weights",
    }
    return {
        "stem.*": ("stem.*", convolution),
        "level1.*": ("level1.*", block),
        "level2.*": ("level2.*", block),
        **{f"norm_prelu_{i}": (f"norm{i}", {"0": "norm", "1": "act"}) for i in range(3)},
    }


RENAMING = Renaming(names({"bn": "norm", "activate": "act"}))


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    settings.must_be("num_channels", (32, 64, 128))
    settings.must_be("dilations", (2, 4))
    settings.must_be("reductions", (8, 16))
    settings.must_be("act_cfg", {"type": "PReLU"})
    check_norm(settings, "BN", "SyncBN", eps=1e-3)
    options = {"num_blocks": as_lists(settings.take("num_blocks", (3, 21)))}
    return Encoder("cgnet_m3n21", None, options, settings.take("in_channels", 3), order=(0, 1, 2))


BACKBONES.add("cgnet", BackboneRecord(("CGNet",), r"cgnet_\w+", translate, RENAMING), module=__name__)
