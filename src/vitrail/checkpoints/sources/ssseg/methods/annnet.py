"""ANNNet: attention to averages over grids."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.methods.annnet import SHARED
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import METHODS, Config, Options, head_options, head_renaming, one_auxiliary

BLOCK: Names = {
    "stages.0.query_project": ("query", CONV_NORM),
    "stages.0.key_project": ("key", CONV_NORM),
    "stages.0.value_project": "value",
    "stages.0.out_project": "out",
    "bottleneck": ("fuse", CONV_NORM),
}
RENAMING = head_renaming(
    {
        "afn_block": ("head.fusion", BLOCK),
        "bottleneck": ("head.reduce", CONV_NORM),
        "apn_block": ("head.context", BLOCK),
        "decoder.1": "head.classifier",
    },
    layouts=SHARED,
)


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    if list(config["head"]["query_scales"]) != [1]:
        raise UnsupportedError(f"vitrail's ANNNet does not shrink queries by {config['head']['query_scales']}")
    keys = {"attention_channels": "transform_channels", "pool_sizes": "key_pool_scales"}
    return head_options(config, channels="feats_channels", **keys), one_auxiliary(config)


METHODS.add("annnet", MethodRecord("ANNNet", translate, RENAMING), module=__name__)
