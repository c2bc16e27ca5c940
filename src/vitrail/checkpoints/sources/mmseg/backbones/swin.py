"""Swin Transformer."""

from __future__ import annotations

from vitrail.checkpoints.plain import as_tuples
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import Change, OnlyTheirs, from_unfolded, to_unfolded, window_positions
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, FEEDFORWARD, check_norm, known_shape
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.settings import Settings

# By width, depths and window.
_SHAPES = {
    (96, (2, 2, 6, 2), 7): "swin_tiny_patch4_window7_224",
    (96, (2, 2, 18, 2), 7): "swin_small_patch4_window7_224",
    (128, (2, 2, 18, 2), 7): "swin_base_patch4_window7_224",
    (128, (2, 2, 18, 2), 12): "swin_base_patch4_window12_384",
    (192, (2, 2, 18, 2), 7): "swin_large_patch4_window7_224",
    (192, (2, 2, 18, 2), 12): "swin_large_patch4_window12_384",
}
RENAMING = Renaming(
    {
        "patch_embed.projection": "encoder.patch_embed.proj",
        "patch_embed.norm": "encoder.patch_embed.norm",
        "stages.*.blocks.*": ("encoder.layers.*.blocks.*", {"attn.w_msa": "attn", **FEEDFORWARD}),
        # There a stage ends with the merging of patches, here the next one begins with it.
        **{f"stages.{i}.downsample": f"encoder.layers.{i + 1}.downsample" for i in range(3)},
        **{f"norm{i}": f"norms.{i}" for i in range(4)},
    },
    (
        Change("downsample.reduction.weight", from_unfolded, to_unfolded),
        Change("downsample.norm.weight", from_unfolded, to_unfolded),
        Change("downsample.norm.bias", from_unfolded, to_unfolded),
        OnlyTheirs("relative_position_index", "relative_position_bias_table", window_positions),
    ),
)


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    window = settings.take("window_size", 7)
    key = (settings.take("embed_dims", 96), as_tuples(settings.take("depths", (2, 2, 6, 2))), window)
    settings.must_be("num_heads", tuple(key[0] // 32 * 2**i for i in range(4)))
    settings.must_be("patch_size", 4)
    settings.must_be("mlp_ratio", 4)
    settings.must_be("strides", (4, 2, 2, 2))
    settings.must_be("out_indices", (0, 1, 2, 3))
    settings.must_be("qkv_bias", True)
    settings.must_be("qk_scale", None)
    settings.must_be("patch_norm", True)
    settings.must_be("use_abs_pos_embed", False)
    settings.must_be("act_cfg", {"type": "GELU"})
    check_norm(settings, "LN")
    settings.pass_over("pretrain_img_size")
    options = {"drop_path_rate": settings.take("drop_path_rate", 0.1)}
    return Encoder(known_shape(_SHAPES, key, settings.where), None, options, settings.take("in_channels", 3))


_OPTIMIZER_KEYS = {
    "backbone.norm": ("backbone.norms",),
    "backbone.patch_embed.norm": ("backbone.encoder.patch_embed.norm",),
    **{
        f"backbone.stages.{stage}.blocks.{block}.norm": (f"backbone.encoder.layers.{stage}.blocks.{block}.norm",)
        for stage in range(4)
        for block in range(18)
    },
    **{
        f"backbone.stages.{stage}.downsample.norm": (f"backbone.encoder.layers.{stage + 1}.downsample.norm",)
        for stage in range(3)
    },
}
BACKBONES.add(
    "swin",
    BackboneRecord(("SwinTransformer",), r"swin_\w+", translate, RENAMING, _OPTIMIZER_KEYS),
    module=__name__,
)
