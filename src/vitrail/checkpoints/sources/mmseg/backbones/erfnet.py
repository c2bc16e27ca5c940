"""ERFNet."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import OnlyTheirs
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings

_BLOCK: Names = {
    "convs_layers.0": "tall1",
    "convs_layers.2": "wide1",
    "convs_layers.3": "norm1",
    "convs_layers.5": "tall2",
    "convs_layers.7": "wide2",
    "convs_layers.8": "norm2",
    "bn": "norm",
}
# Each stage begins with a block that changes the resolution.
_RESIDUAL = [
    f"{stage}.{i}"
    for stage, count in (("stage1", 5), ("stage2", 8), ("up1", 2), ("up2", 2))
    for i in range(1, count + 1)
]
RENAMING = Renaming(
    {
        "encoder.0": ("stem", _BLOCK),
        **{f"encoder.{i}": (f"stage1.{i - 1}", _BLOCK) for i in range(1, 7)},
        **{f"encoder.{i}": (f"stage2.{i - 7}", _BLOCK) for i in range(7, 16)},
        **{f"decoder.{i}": (f"up1.{i}", _BLOCK) for i in range(3)},
        **{f"decoder.{i}": (f"up2.{i - 3}", _BLOCK) for i in range(3, 6)},
    },
    # An activation that a residual block uses several times is listed several times there.
    tuple(
        OnlyTheirs(f"{block}.convs_layers.{i}.weight", f"{block}.act.weight", lambda weight: weight)
        for block in _RESIDUAL
        for i in (1, 4, 6)
    ),
)


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    settings.must_be("enc_downsample_channels", (16, 64, 128))
    settings.must_be("enc_stage_non_bottlenecks", (5, 8))
    settings.must_be("enc_non_bottleneck_dilations", (2, 4, 8, 16))
    settings.must_be("enc_non_bottleneck_channels", (64, 128))
    settings.must_be("dec_upsample_channels", (64, 16))
    settings.must_be("dec_stages_non_bottleneck", (2, 2))
    settings.must_be("dec_non_bottleneck_channels", (64, 16))
    options = {"dropout": settings.take("dropout_ratio", 0.1)}
    return Encoder("erfnet", None, options, settings.take("in_channels", 3), order=(-1,))


BACKBONES.add("erfnet", BackboneRecord(("ERFNet",), r"erfnet", translate, RENAMING), module=__name__)
