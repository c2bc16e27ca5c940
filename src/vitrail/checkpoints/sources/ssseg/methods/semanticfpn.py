"""Semantic FPN: a feature pyramid whose levels are enlarged and added."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.ssseg.heads import METHODS, Config, Options, head_options
from vitrail.checkpoints.sources.ssseg.methods.pointrend import FEATURE_PYRAMID

RENAMING = Renaming({**FEATURE_PYRAMID, "decoder.1": "head.classifier"})


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    head = config["head"]
    if head["upsample_cfg"] != {"mode": "nearest"}:
        raise UnsupportedError(f"vitrail's feature pyramid is not enlarged by {head['upsample_cfg']}")
    if head["feature_stride_list"] != [4, 8, 16, 32]:
        raise UnsupportedError(
            f"vitrail's feature pyramid does not take strides {head['feature_stride_list']} as given"
        )
    return head_options(config, pyramid_channels="feats_channels", channels="scale_head_channels"), {}


METHODS.add("semanticfpn", MethodRecord("SemanticFPN", translate, RENAMING), module=__name__)
