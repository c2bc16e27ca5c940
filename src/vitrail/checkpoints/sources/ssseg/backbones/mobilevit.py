"""MobileViT."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.encoders import ATTENTION, FEEDFORWARD
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, Config, named_shape

_SHAPES = {"mobilevit-small": "mobilevit_s"}
_DEPTHS = {2: 2, 3: 4, 4: 3}  # transformer blocks of the stages that have them
INVERTED_RESIDUAL: Names = {"conv.0": "conv1_1x1", "conv.1": "conv2_kxk", "conv.2": "conv3_1x1"}
_BLOCK: Names = {
    **INVERTED_RESIDUAL,
    "local_rep.0": "conv_kxk",
    "local_rep.1.conv": "conv_1x1",
    "global_rep.*": ("transformer.*", {"ln1": "norm1", "ln2": "norm2", **ATTENTION, **FEEDFORWARD}),
}
RENAMING = Renaming(
    {
        "stem": "encoder.stem",
        "layers.*.*": ("encoder.stages.*.*", _BLOCK),
        # The norm after the blocks is the last of them there.
        **{f"layers.{i}.1.global_rep.{depth}": f"encoder.stages.{i}.1.norm" for i, depth in _DEPTHS.items()},
        "conv_1x1_exp": "encoder.final_conv",
    }
)


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    return Encoder(named_shape(_SHAPES, values), options={"project_act": False})


BACKBONES.add("mobilevit", BackboneRecord(("MobileViT",), r"mobilevit_\w+", translate, RENAMING), module=__name__)
