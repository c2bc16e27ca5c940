"""transformers' BEiT and Data2VecVision for semantic segmentation: UPerNet on the maps of a plain transformer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vitrail.checkpoints.plain import as_lists, as_tuples
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import Join, LeftOut
from vitrail.checkpoints.sources.renaming import Names, Renaming, State
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.checkpoints.sources.transformers.encoders import known
from vitrail.checkpoints.sources.transformers.records import Translation
from vitrail.checkpoints.sources.transformers.upernet import auxiliary_of

_SHAPES = {(768, 12, 12): "beit_base_patch16_224", (1024, 24, 16): "beit_large_patch16_224"}
_BLOCK: Names = {
    **{f"attention.attention.{name}.weight": f"attn.{name[0]}.weight" for name in ("query", "key", "value")},
    "attention.attention.query.bias": "attn.q_bias",
    "attention.attention.value.bias": "attn.v_bias",
    "attention.attention.relative_position_bias": "attn",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "lambda_1": "gamma_1",
    "lambda_2": "gamma_2",
}
_FPN: Names = {"fpn1": "backbone.neck.up4", "fpn2.0": "backbone.neck.up2"}


@dataclass(frozen=True)
class _NotApplied:
    """Blocks behind the last one whose output is read."""

    prefix: str
    first: int

    def to_ours(self, state: State) -> State:
        """See `Layout`."""
        return {name: value for name, value in state.items() if not self._is_behind(name)}

    def to_theirs(self, state: State) -> State:
        """See `Layout`."""
        return state

    def _is_behind(self, name: str) -> bool:
        found = re.match(rf"{re.escape(self.prefix)}(\d+)\.", name)
        return found is not None and int(found[1]) >= self.first


def plain_upernet(inside: str, heads: Names) -> Callable[[Settings], Translation]:
    """Return the translation of models whose encoder is called `inside`, with the names of their heads' modules."""

    def translate(settings: Settings) -> Translation:
        shape = tuple(settings.take(key) for key in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
        maps = _maps(settings, shape[1])
        options = {
            "img_size": settings.take("image_size", 224),
            "out_indices": maps,
            "pyramid": True,
            "layer_norm_eps": settings.take("layer_norm_eps", 1e-12),
            "drop_path_rate": settings.take("drop_path_rate", 0.1),
        }
        settings.must_be("intermediate_size", 4 * shape[0])
        settings.must_be("hidden_act", "gelu")
        settings.must_be("patch_size", 16)
        settings.must_be("use_absolute_position_embeddings", False)
        settings.must_be("use_shared_relative_position_bias", False)
        if settings.take("use_relative_position_bias", False) is not True:
            raise UnsupportedError(f"{settings.where} has no relative_position_bias, which vitrail's BEiT has")
        settings.must_be("semantic_loss_ignore_index", 255)
        settings.pass_over(
            *("hidden_dropout_prob", "attention_probs_dropout_prob", "layer_scale_init_value", "use_mask_token"),
            *("use_mean_pooling", "vocab_size", "add_fpn", "reshape_hidden_states"),
        )
        encoder = Encoder(known(_SHAPES, shape, settings.where), None, options, settings.take("num_channels", 3))
        pools = as_lists(settings.take("pool_scales", (1, 2, 3, 6)))
        head = {"channels": shape[0], "pool_sizes": pools}
        renaming = _renaming(inside, heads, maps[-1])
        return Translation("upernet", encoder, renaming, head, auxiliary_of(settings), resize_once=True)

    return translate


def _maps(settings: Settings, depth: int) -> list[int]:
    """Return the blocks, counted from 0, whose outputs are read.

    The list counts from 1 what comes before the first block and then behind each: its number n is block n - 2.
    """
    settings.pass_over("out_features")
    given = as_tuples(settings.take("out_indices", settings.take("segmentation_indices", (3, 5, 7, 11))))
    maps = [index - 2 for index in given]
    if len(maps) != 4 or maps != sorted(set(maps)) or maps[0] < 0 or maps[-1] >= depth:
        raise UnsupportedError(f"{settings.where}.out_indices is {list(given)}, not four of {depth} blocks in order")
    return maps


def _renaming(inside: str, heads: Names, last: int) -> Renaming:
    joins: tuple[Any, ...] = (Join([(f"attn.{letter}.weight", 1) for letter in "qkv"], "attn.qkv.weight"),)
    return Renaming(
        {
            f"{inside}.embeddings.cls_token": "backbone.encoder.cls_token",
            f"{inside}.embeddings.patch_embeddings.projection": "backbone.encoder.patch_embed.proj",
            f"{inside}.encoder.layer.*": ("backbone.encoder.blocks.*", _BLOCK),
            **_FPN,
            **heads,
        },
        joins,
        (
            _NotApplied(f"{inside}.encoder.layer.", last + 1),
            LeftOut(
                (
                    "relative_position_index",
                    f"{inside}.embeddings.mask_token",
                    *(f"{inside}.{norm}layernorm.{kind}" for norm in ("", "pooler.") for kind in ("weight", "bias")),
                )
            ),
        ),
    )
