"""GCNet: a block of global context."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.methods.gcnet import GLOBAL_CONTEXT, NORMS, described_block
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.ssseg.heads import METHODS, Config, Options, around_block, head_options, one_auxiliary


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    head = config["head"]
    if head.get("norm_cfg") != {"type": "LayerNorm"}:
        raise UnsupportedError(f"vitrail's GCNet has a LayerNorm in its block, not {head.get('norm_cfg')}")
    block = described_block(head["ratio"], head["pooling_type"], head["fusion_types"])
    return {**head_options(config, channels="feats_channels"), **block}, one_auxiliary(config)


RENAMING = around_block("cb", "contextblock_net", GLOBAL_CONTEXT, layouts=NORMS)

METHODS.add("gcnet", MethodRecord("GCNet", translate, RENAMING), module=__name__)
