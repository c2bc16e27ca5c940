"""One of each kind of extension; importing the package registers them all."""

from example_plugin import (
    augmentation,
    backbone,
    checkpoint_source,
    dataset,
    export_format,
    frame_source,
    logger,
    loss,
    optimizer,
    schedule,
    segmentor,
    strategy,
)

__all__ = [
    "augmentation",
    "backbone",
    "checkpoint_source",
    "dataset",
    "export_format",
    "frame_source",
    "logger",
    "loss",
    "optimizer",
    "schedule",
    "segmentor",
    "strategy",
]
