"""NonLocalNet: a non-local block."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import METHODS, Config, Options, around_block, head_options, one_auxiliary

NON_LOCAL: Names = {
    "g.0": "value",
    "theta.0": "query",
    "phi.0": "key",
    "concat_project.0": "compare",
    "conv_out": ("out", CONV_NORM),
}
PAIRWISE = {
    "embeddedgaussian": "embedded_gaussian",
    "gaussian": "gaussian",
    "dotproduct": "dot_product",
    "concatenation": "concatenation",
}


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    options = head_options(config, channels="feats_channels", reduction="reduction", scale="use_scale")
    mode = config["head"]["mode"]
    if mode not in PAIRWISE:
        raise UnsupportedError(f"vitrail has no non-local block of the mode {mode!r}")
    return {**options, "pairwise": PAIRWISE[mode]}, one_auxiliary(config)


METHODS.add(
    "nonlocalnet", MethodRecord("NonLocalNet", translate, around_block("nl", "nl_block", NON_LOCAL)), module=__name__
)
