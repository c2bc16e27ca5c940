"""MSCAN, the encoder of SegNeXt."""

from __future__ import annotations

from vitrail.checkpoints.plain import as_tuples
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, check_norm, known_shape
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings

_SHAPES = {
    ((32, 64, 160, 256), (3, 3, 5, 2)): "mscan_t",
    ((64, 128, 320, 512), (2, 2, 4, 2)): "mscan_s",
    ((64, 128, 320, 512), (3, 3, 12, 3)): "mscan_b",
    ((64, 128, 320, 512), (3, 5, 27, 3)): "mscan_l",
}
_BLOCK: Names = {
    "attn": (
        "attn",
        {
            "proj_1": "project",
            "proj_2": "out",
            "spatial_gating_unit": (
                "gate",
                {
                    "conv0": "local",
                    **{f"conv{i}_{k}": f"strips.{i}.{k - 1}" for i in range(3) for k in (1, 2)},
                    "conv3": "mix",
                },
            ),
        },
    ),
    "mlp.dwconv": "mlp.conv",
    **{f"layer_scale_{k}": f"scale{k}.gamma" for k in (1, 2)},
}
RENAMING = Renaming(
    {
        "patch_embed1.proj": "stages.0.embed",
        **{f"patch_embed{i + 1}": f"stages.{i}.embed" for i in range(1, 4)},
        **{f"block{i + 1}.*": (f"stages.{i}.blocks.*", _BLOCK) for i in range(4)},
        **{f"norm{i + 1}": f"stages.{i}.norm" for i in range(4)},
    }
)


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    key = (
        as_tuples(settings.take("embed_dims", (64, 128, 256, 512))),
        as_tuples(settings.take("depths", (3, 4, 6, 3))),
    )
    settings.must_be("mlp_ratios", (8, 8, 4, 4))
    settings.must_be("num_stages", 4)
    settings.must_be("attention_kernel_sizes", (5, (1, 7), (1, 11), (1, 21)))
    settings.must_be("attention_kernel_paddings", (2, (0, 3), (0, 5), (0, 10)))
    settings.must_be("act_cfg", {"type": "GELU"})
    settings.must_be("in_channels", 3)
    check_norm(settings, "BN", "SyncBN")
    name = known_shape(_SHAPES, key, settings.where)
    return Encoder(name, None, {"drop_path_rate": settings.take("drop_path_rate", 0.0)})


BACKBONES.add("mscan", BackboneRecord(("MSCAN",), r"mscan_[tsbl]", translate, RENAMING), module=__name__)
