"""The strategy fsdp2: its options, checked before PyTorch's sharding is imported."""

from __future__ import annotations

import torch

from vitrail.errors import TrainingError
from vitrail.layers.processes import world_size
from vitrail.runtime.distributed.strategy import Strategy, register_strategy


@register_strategy("fsdp2")
def fully_sharded(
    device: torch.device,
    *,
    replicate: int = 1,
    reshard_after_forward: bool = True,
    reduce_each_part: bool = True,
) -> Strategy:
    """Shard parameters, gradients and optimizer state over the processes; see `torch.distributed.fsdp.fully_shard`.

    Parameters
    ----------
    device : torch.device
        The device of this process.
    replicate : int
        Hybrid sharding: the number of groups of processes that each hold the whole model in shards, such as the number
        of machines. Processes whose ranks follow each other are in the same group.
    reshard_after_forward : bool
        Whether the blocks are given up between the forward and the backward pass, and gathered again; false needs more
        memory and less communication.
    reduce_each_part : bool
        With `train.accumulate`: true reduces the gradients after each part of the batch, so that they are always
        sharded; false sums whole gradients in each process and reduces them once.

    Raises
    ------
    TrainingError
        For one process, for a number of groups that the processes cannot form, and on a CPU for a PyTorch that cannot
        shard there.
    """
    processes = world_size()
    if processes == 1:
        raise TrainingError(
            "train.strategy=fsdp2 needs several processes: start with "
            "`torchrun --nproc-per-node 2 -m vitrail train …`, or use train.strategy=auto"
        )
    if replicate < 1 or processes % replicate or (replicate == processes):
        raise TrainingError(
            f"train.strategy=fsdp2: {processes} processes cannot form {replicate} groups (replicate) of two or more, "
            "all of the same size"
        )
    if device.type == "cpu" and not shards_on_cpu():
        raise TrainingError(
            f"train.strategy=fsdp2 needs CUDA with PyTorch {torch.__version__}; later ones shard on the CPU too: "
            "pip install --upgrade torch, or use train.strategy=ddp"
        )
    from vitrail.runtime.distributed.sharded_model import FullyShardedDataParallel

    return FullyShardedDataParallel(
        device,
        replicate=replicate,
        reshard_after_forward=reshard_after_forward,
        reduce_each_part=reduce_each_part,
    )


def shards_on_cpu() -> bool:
    """Return whether this PyTorch can shard models on the CPU; that of 2.6 lacks a method there, which it calls."""
    return hasattr(torch.cpu.Stream, "record_event")
