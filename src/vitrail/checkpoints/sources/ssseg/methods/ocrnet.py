"""OCRNet: object-contextual representations, from the coarse prediction of a first head."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import METHODS, Config, Options, fcn_names, head_options, loss_weight

RENAMING = Renaming(
    {
        "auxiliary_decoder": ("head.coarse", fcn_names(1)),
        "bottleneck": ("head.pixels", CONV_NORM),
        "object_context_block.bottleneck": ("head.fuse", CONV_NORM),
        "object_context_block.query_project.*": ("head.attention.query.*", CONV_NORM),
        "object_context_block.key_project.*": ("head.attention.key.*", CONV_NORM),
        "object_context_block.value_project": ("head.attention.value.0", CONV_NORM),
        "object_context_block.out_project": ("head.attention.out.0", CONV_NORM),
        "decoder.1": "head.classifier",
    }
)


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    options = head_options(config, channels="feats_channels", attention_channels="transform_channels")
    coarse = {
        "coarse_channels": config["auxiliary"]["out_channels"],
        "coarse_weight": loss_weight(config, "loss_aux"),
    }
    return {**options, **coarse}, {}


METHODS.add("ocrnet", MethodRecord("OCRNet", translate, RENAMING), module=__name__)
