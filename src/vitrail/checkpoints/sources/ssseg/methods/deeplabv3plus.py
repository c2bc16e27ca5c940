"""DeepLabv3+: the pyramid of DeepLabv3 with separable convolutions, and a shortcut from the finest map."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM, SEPARABLE
from vitrail.checkpoints.sources.ssseg.heads import METHODS, head_renaming, with_auxiliary
from vitrail.checkpoints.sources.ssseg.methods.deeplabv3 import ATROUS_PYRAMID

RENAMING = head_renaming(
    {
        **ATROUS_PYRAMID,
        "shortcut": ("head.shortcut", CONV_NORM),
        "decoder.0": ("head.decoder.0", SEPARABLE),
        "decoder.1": ("head.decoder.1", SEPARABLE),
        "decoder.3": "head.classifier",
    }
)

METHODS.add(
    "deeplabv3plus",
    MethodRecord(
        "Deeplabv3Plus", with_auxiliary(dilations="dilations", shortcut_channels="shortcut_channels"), RENAMING
    ),
    module=__name__,
)
