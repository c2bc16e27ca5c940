"""PSANet: point-wise spatial attention."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.methods.psanet import DIRECTIONS
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import (
    METHODS,
    Config,
    Options,
    head_options,
    head_renaming,
    one_auxiliary,
)

RENAMING: Renaming = head_renaming(
    {
        "reduce": ("head.attentions.0.reduce", CONV_NORM),
        "attention": ("head.attentions.0.hidden", CONV_NORM),
        "attention.3": "head.attentions.0.scores",
        "reduce_p": ("head.attentions.1.reduce", CONV_NORM),
        "attention_p": ("head.attentions.1.hidden", CONV_NORM),
        "attention_p.3": "head.attentions.1.scores",
        "proj": ("head.project", CONV_NORM),
        "decoder": ("head.fuse", CONV_NORM),
        "decoder.4": "head.classifier",
    }
)


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    head = config["head"]
    options = head_options(
        config, channels="feats_channels", compact="compact", shrink="shrink_factor", softmax="psa_softmax"
    )
    height, width = head["mask_size"]
    options |= {
        "mask_size": [height, width],
        "directions": DIRECTIONS[head["type"]],
        "scale": float(head.get("normalization_factor", height * width)),
    }
    return options, one_auxiliary(config)


METHODS.add("psanet", MethodRecord("PSANet", translate, RENAMING), module=__name__)
