"""SegFormer: every map projected, joined, classified."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import METHODS, Config, Options, head_options

RENAMING = Renaming(
    {
        "convs.*": ("head.projections.*", CONV_NORM),
        "decoder": ("head.fuse", CONV_NORM),
        "decoder.4": "head.classifier",
    }
)


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    return head_options(config, channels="feats_channels"), {}


METHODS.add("segformer", MethodRecord("Segformer", translate, RENAMING), module=__name__)
