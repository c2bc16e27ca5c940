"""What transformers' models with queries share: the names of attention's projections and of the pixel decoder."""

from __future__ import annotations

from vitrail.checkpoints.sources.layouts import Join
from vitrail.checkpoints.sources.renaming import Names

PIXELS, TRANSFORMER = "model.pixel_level_module.decoder", "model.transformer_module"
_DEFORMABLE_LAYER: Names = {
    "self_attn.sampling_offsets": "attn.offsets",
    "self_attn.attention_weights": "attn.weights",
    "self_attn.value_proj": "attn.value",
    "self_attn.output_proj": "attn.project",
    "self_attn_layer_norm": "norm1",
    "final_layer_norm": "norm2",
}
DEFORMABLE_PIXELS: Names = {
    f"{PIXELS}.input_projections": "head.pixel_decoder.inputs",
    f"{PIXELS}.level_embed": "head.pixel_decoder.encoder.level_embedding",
    f"{PIXELS}.encoder.layers.*": ("head.pixel_decoder.encoder.layers.*", _DEFORMABLE_LAYER),
    f"{PIXELS}.adapter_1": "head.pixel_decoder.fine.laterals.0",
    f"{PIXELS}.layer_1": "head.pixel_decoder.fine.smooth.0",
    f"{PIXELS}.mask_projection": "head.pixel_decoder.fine.project",
}


def projections(theirs: str, ours: str) -> tuple[Names, tuple[Join, ...]]:
    """Return the names of an attention's three projections, and the layouts that join them as PyTorch has them."""
    names: Names = {theirs: ours, **{f"{theirs}.{letter}_proj": f"{ours}.{letter}" for letter in "qkv"}}
    layouts = tuple(
        Join([(f"{ours}.{letter}.{kind}", 1) for letter in "qkv"], f"{ours}.in_proj_{kind}")
        for kind in ("weight", "bias")
    )
    return names, layouts
