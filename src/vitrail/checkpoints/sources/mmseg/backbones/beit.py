"""BEiT."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import OnlyTheirs, grid_positions
from vitrail.checkpoints.sources.mmseg.backbones.vit import names
from vitrail.checkpoints.sources.mmseg.encoders import (
    BACKBONES,
    known_shape,
    layer_norm_eps,
    plain_transformer_options,
    plain_transformer_shape,
)
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.recipes import ModelConfig

_SHAPES = {(768, 12, 12): "beit_base_patch16_224", (1024, 24, 16): "beit_large_patch16_224"}
_PATCH = 16


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    return encoder_with_position_biases(settings, _SHAPES)


def encoder_with_position_biases(settings: Settings, shapes: Mapping[tuple[int, int, int], str]) -> Encoder:
    """Return the encoder of a `backbone` section; `shapes` are our names by width, depth and number of heads."""
    shape = plain_transformer_shape(settings)
    if layer_norm_eps(settings) != 1e-6:
        raise UnsupportedError(f"{settings.where}: the layer norms of vitrail's encoder have the epsilon 1e-6")
    options = plain_transformer_options(settings, shape[1])
    settings.must_be("qv_bias", True)
    settings.must_be("final_norm", False)
    settings.pass_over("init_values")
    name = known_shape(shapes, shape, settings.where)
    return Encoder(name, None, options, settings.take("in_channels", 3), takes_neck=True)


def position_index(model: ModelConfig) -> OnlyTheirs:
    """Return the layout of the index of their position biases, from the size that positions are laid out for."""
    size = model.backbone_options.get("img_size", 224)
    height, width = (size, size) if isinstance(size, int) else size
    grid = (height // _PATCH, width // _PATCH)
    return OnlyTheirs("relative_position_index", "relative_position_bias_table", partial(grid_positions, grid))


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming, which depends on the size that positions are laid out for."""
    return Renaming(names({}), (position_index(model),))


BACKBONES.add("beit", BackboneRecord(("BEiT",), r"beit_\w+", translate, renaming), module=__name__)
