"""DeepLabv3: a pyramid of dilated convolutions."""

from __future__ import annotations

from torch import Tensor

from vitrail.checkpoints.sources.layouts import Change
from vitrail.checkpoints.sources.mmseg.heads import METHODS, head_renaming, on_last_map
from vitrail.checkpoints.sources.records import MethodRecord


def average_last(weight: Tensor) -> Tensor:
    """Bring the average of the image, which MMSegmentation joins before the branches, behind them.

    `weight` is [D, n D, k, k], that of the convolution after the joining.
    """
    return weight.roll(-len(weight), dims=1)


def average_first(weight: Tensor) -> Tensor:
    """Return the inverse of `average_last`."""
    return weight.roll(len(weight), dims=1)


AVERAGE = Change("head.pyramid.fuse.conv.weight", average_last, average_first)

METHODS.add(
    "deeplabv3",
    MethodRecord(
        "ASPPHead",
        on_last_map({"dilations": "dilations"}),
        head_renaming(
            {"image_pool": "pyramid.pool", "aspp_modules": "pyramid.branches", "bottleneck": "pyramid.fuse"},
            layouts=(AVERAGE,),
        ),
    ),
    module=__name__,
)
