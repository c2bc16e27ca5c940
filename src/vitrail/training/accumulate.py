"""Gradient accumulation: splitting a batch into parts that go through the model one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vitrail.labels import ignore_index_of
from vitrail.layers.processes import sum_over_processes, world_size


class MicroBatch(NamedTuple):
    """A part of a batch.

    Attributes
    ----------
    images, targets : Tensor [b, 3, H, W], Tensor [b, H, W]
        A part of this process's share of the batch.
    share : Tensor
        Its share of the labelled pixels of the whole batch, a scalar on the device.
    last : bool
        Whether it is the last part, after which the optimizer step follows.
    """

    images: Tensor
    targets: Tensor
    share: Tensor
    last: bool


def split(images: Tensor, targets: Tensor, parts: int) -> Iterator[MicroBatch]:
    """Yield equal parts of this process's share of a batch, images [B, 3, H, W] and targets [B, H, W]."""
    shares = labelled_shares(targets, parts)
    for index, (image, target) in enumerate(zip(images.chunk(parts), targets.chunk(parts), strict=True)):
        yield MicroBatch(image, target, shares[index], last=index == parts - 1)


def labelled_shares(targets: Tensor, parts: int) -> Tensor:
    """Return each part's share [parts] of the labelled pixels of the whole batch, that of all processes.

    Weighted so, means over the labelled pixels of the parts add up to the mean over those of the batch.

    Parameters
    ----------
    targets : Tensor [B, H, W]
        This process's share of the batch: masks as datasets return them.
    parts : int
        In how many equal parts it goes through the model.
    """
    if parts == 1 and world_size() == 1:
        return torch.ones(1, device=targets.device)
    counts = (targets != ignore_index_of(targets)).view(parts, -1).sum(dim=1).float()
    return counts / sum_over_processes(counts.sum()).clamp(min=1)
