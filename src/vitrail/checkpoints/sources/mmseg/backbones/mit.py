"""Mix Transformer, the encoder of SegFormer."""

from __future__ import annotations

from vitrail.checkpoints.plain import as_tuples
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import Change, as_convolution, as_matrix
from vitrail.checkpoints.sources.mmseg.encoders import ATTENTION, BACKBONES, check_norm, known_shape
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings

# By width and depths.
_SHAPES = {
    (32, (2, 2, 2, 2)): "mit_b0",
    (64, (2, 2, 2, 2)): "mit_b1",
    (64, (3, 4, 6, 3)): "mit_b2",
    (64, (3, 4, 18, 3)): "mit_b3",
    (64, (3, 8, 27, 3)): "mit_b4",
    (64, (3, 6, 40, 3)): "mit_b5",
}
_BLOCK: Names = {
    **ATTENTION,
    "attn.sr": "attn.shrink",
    "ffn.layers.0": "mlp.fc1",
    "ffn.layers.1": "mlp.conv",
    "ffn.layers.4": "mlp.fc2",
}
RENAMING = Renaming(
    {
        "layers.*.0": ("stages.*.embed", {"projection": "proj"}),
        "layers.*.1.*": ("stages.*.blocks.*", _BLOCK),
        "layers.*.2": "stages.*.norm",
    },
    (
        Change("mlp.fc1.weight", as_matrix, as_convolution),
        Change("mlp.fc2.weight", as_matrix, as_convolution),
    ),
)


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    key = (settings.take("embed_dims", 64), as_tuples(settings.take("num_layers", (3, 4, 6, 3))))
    settings.must_be("num_stages", 4)
    settings.must_be("num_heads", (1, 2, 5, 8))
    settings.must_be("patch_sizes", (7, 3, 3, 3))
    settings.must_be("strides", (4, 2, 2, 2))
    settings.must_be("sr_ratios", (8, 4, 2, 1))
    settings.must_be("out_indices", (0, 1, 2, 3))
    settings.must_be("mlp_ratio", 4)
    settings.must_be("qkv_bias", True)
    settings.must_be("act_cfg", {"type": "GELU"})
    check_norm(settings, "LN", eps=1e-6)
    options = {"drop_path_rate": settings.take("drop_path_rate", 0.0)}
    return Encoder(known_shape(_SHAPES, key, settings.where), None, options, settings.take("in_channels", 3))


# The norms of the maps have numbers there.
_OPTIMIZER_KEYS = {"norm": ("embed.norm", "norm1", "attn.norm", "norm2")}
BACKBONES.add(
    "mit",
    BackboneRecord(("MixVisionTransformer",), r"mit_b\d", translate, RENAMING, _OPTIMIZER_KEYS),
    module=__name__,
)
