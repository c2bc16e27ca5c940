"""DNLNet: a disentangled non-local block."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.ssseg.heads import METHODS, Config, Options, around_block, head_options, one_auxiliary
from vitrail.checkpoints.sources.ssseg.methods.nonlocalnet import NON_LOCAL


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    if config["head"]["mode"] != "embeddedgaussian":
        raise UnsupportedError(f"vitrail's DNLNet has no mode {config['head']['mode']!r}")
    keys = {"reduction": "reduction", "scale": "use_scale", "temperature": "temperature"}
    return head_options(config, channels="feats_channels", **keys), one_auxiliary(config)


RENAMING = around_block("dnl", "dnl_block", {**NON_LOCAL, "conv_mask": "unary"})

METHODS.add("dnlnet", MethodRecord("DNLNet", translate, RENAMING), module=__name__)
