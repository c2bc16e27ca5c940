"""EncNet: context encoding."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import (
    METHODS,
    Config,
    Options,
    head_options,
    head_renaming,
    loss_weight,
    one_auxiliary,
)

RENAMING = head_renaming(
    {
        "bottleneck": ("head.reduce", CONV_NORM),
        "enc_module.encoding_project": ("head.project", CONV_NORM),
        "enc_module.encoding": "head.encode",
        "enc_module.fc.0": "head.gate",
        "se_layer": "head.presence",
        "decoder.1": "head.classifier",
    }
)


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    options = head_options(config, channels="feats_channels", num_codes="num_codes")
    options |= {"lateral": config["head"]["extra"]["add_lateral"], "presence_weight": loss_weight(config, "loss_se")}
    return options, one_auxiliary(config)


METHODS.add("encnet", MethodRecord("ENCNet", translate, RENAMING), module=__name__)
