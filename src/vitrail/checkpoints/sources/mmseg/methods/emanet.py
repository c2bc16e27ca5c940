"""EMANet: attention by expectation maximisation."""

from __future__ import annotations

from torch import Tensor

from vitrail.checkpoints.sources.layouts import Change
from vitrail.checkpoints.sources.mmseg.heads import METHODS, head_renaming, on_last_map
from vitrail.checkpoints.sources.records import MethodRecord


def without_batch(bases: Tensor) -> Tensor:
    """Take the leading axis of length one away with which others keep the bases [1, C, n]."""
    return bases[0]


def with_batch(bases: Tensor) -> Tensor:
    """Return the inverse of `without_batch`."""
    return bases[None]


BASES = Change("head.attention.bases", without_batch, with_batch)

METHODS.add(
    "emanet",
    MethodRecord(
        "EMAHead",
        on_last_map(
            {
                "attention_channels": "ema_channels",
                "num_bases": "num_bases",
                "num_stages": "num_stages",
                "momentum": "momentum",
            }
        ),
        head_renaming(
            {
                "ema_in_conv": "reduce",
                "ema_mid_conv.conv": "signed",
                "ema_module": "attention",
                "ema_out_conv": "restore",
                "bottleneck": "smooth",
                "conv_cat": "fuse",
            },
            layouts=(BASES,),
        ),
    ),
    module=__name__,
)
