"""Twins, of both kinds: PCPVT and SVT."""

from __future__ import annotations

from dataclasses import dataclass

from vitrail.checkpoints.plain import as_tuples
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import Split
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, FEEDFORWARD, check_norm, known_shape
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Renaming, State
from vitrail.checkpoints.sources.settings import Settings

_SHAPES = {
    ("PCPVT", (64, 128, 320, 512), (3, 4, 6, 3)): "twins_pcpvt_small",
    ("PCPVT", (64, 128, 320, 512), (3, 4, 18, 3)): "twins_pcpvt_base",
    ("PCPVT", (64, 128, 320, 512), (3, 8, 27, 3)): "twins_pcpvt_large",
    ("SVT", (64, 128, 256, 512), (2, 2, 10, 4)): "twins_svt_small",
    ("SVT", (96, 192, 384, 768), (2, 2, 18, 2)): "twins_svt_base",
    ("SVT", (128, 256, 512, 1024), (2, 2, 18, 2)): "twins_svt_large",
}


@dataclass(frozen=True)
class OutputOfGlobal:
    """The output projection of global attention lies one module deeper there, SVT's local one's does not."""

    theirs: str = "attn.attn.out_proj"
    ours: str = "attn.proj"
    global_only: str = "attn.attn.in_proj_weight"

    def to_ours(self, state: State) -> State:
        """See `Layout`."""
        return {name.replace(f".{self.theirs}.", f".{self.ours}."): value for name, value in state.items()}

    def to_theirs(self, state: State) -> State:
        """See `Layout`."""
        moved = {}
        for name, value in state.items():
            block, found, rest = name.rpartition(f".{self.ours}.")
            known = found and f"{block}.{self.global_only}" in state
            moved[f"{block}.{self.theirs}.{rest}" if known else name] = value
        return moved


RENAMING = Renaming(
    {
        "patch_embeds.*": ("encoder.patch_embeds.*", {"projection": "proj"}),
        "position_encodings.*.proj": "encoder.pos_block.*.proj.0",
        "layers.*.*": ("encoder.blocks.*.*", FEEDFORWARD),
        "norm_list": "norms",
    },
    (
        OutputOfGlobal(),
        # There one matrix makes queries, keys and values; timm has one for queries and one for keys and values.
        *(
            Split(f"attn.attn.in_proj_{kind}", ((f"attn.q.{kind}", 1), (f"attn.kv.{kind}", 2)))
            for kind in ("weight", "bias")
        ),
    ),
)


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    key = (kind, as_tuples(settings.take("embed_dims")), as_tuples(settings.take("depths")))
    settings.must_be("norm_after_stage", kind == "SVT")
    settings.must_be("patch_sizes", (4, 2, 2, 2))
    settings.must_be("strides", (4, 2, 2, 2))
    settings.must_be("sr_ratios", (8, 4, 2, 1))
    settings.must_be("out_indices", (0, 1, 2, 3))
    settings.must_be("qkv_bias", True)
    settings.must_be("windiow_sizes", (7, 7, 7, 7))  # spelled so there
    settings.pass_over("num_heads", "mlp_ratios")  # go with the embedding dimensions
    check_norm(settings, "LN")
    options = {"drop_path_rate": settings.take("drop_path_rate", 0.0)}
    return Encoder(known_shape(_SHAPES, key, settings.where), None, options, settings.take("in_channels", 3))


BACKBONES.add("twins", BackboneRecord(("PCPVT", "SVT"), r"twins_\w+", translate, RENAMING), module=__name__)
