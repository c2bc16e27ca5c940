"""PoolFormer, which MMSegmentation takes from MMPretrain."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, known_shape
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.settings import Settings

_SHAPES = {size: f"poolformer_{size}" for size in ("s12", "s24", "s36", "m36", "m48")}
# What timm builds.
_FIXED = {
    **{"pool_size": 3, "out_indices": (0, 2, 4, 6)},
    **{"in_patch_size": 7, "in_stride": 4, "in_pad": 2},
    **{"down_patch_size": 3, "down_stride": 2, "down_pad": 1},
}
# There the network is one list of stages (even numbers) and the convolutions between them (odd ones).
RENAMING = Renaming(
    {
        "patch_embed.proj": "encoder.stem.conv",
        **{
            f"network.{2 * i}.*": (
                f"encoder.stages.{i}.blocks.*",
                {f"layer_scale_{k}": f"layer_scale{k}.scale" for k in (1, 2)},
            )
            for i in range(4)
        },
        **{f"network.{2 * i - 1}.proj": f"encoder.stages.{i}.downsample.conv" for i in range(1, 4)},
        **{f"norm{2 * i}": f"norms.{i}" for i in range(4)},
    }
)


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    name = known_shape(_SHAPES, settings.take("arch", "s12"), settings.where)
    for key, value in _FIXED.items():
        settings.must_be(key, value)
    settings.must_be("norm_cfg", {"type": "GN", "num_groups": 1})
    settings.must_be("act_cfg", {"type": "GELU"})
    return Encoder(name, None, {"drop_path_rate": settings.take("drop_path_rate", 0.0)})


BACKBONES.add("poolformer", BackboneRecord(("PoolFormer",), r"poolformer_\w+", translate, RENAMING), module=__name__)
