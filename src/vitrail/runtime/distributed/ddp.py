"""DistributedDataParallel: each process holds the whole model and a share of the batch."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vitrail.errors import TrainingError
from vitrail.layers.processes import world_size
from vitrail.runtime.distributed.collectives import broadcast_buffers
from vitrail.runtime.distributed.strategy import Model, SingleDevice, Strategy, register_strategy


@register_strategy("ddp")
class DataParallel(Strategy):
    """Average gradients over processes that each hold the whole model; see `DistributedDataParallel`.

    Parameters
    ----------
    device : torch.device
        The device of this process.
    find_unused_parameters : bool
        Whether some parameters take no part in some steps; costs a walk through the graph in every step.
    """

    def __init__(self, device: torch.device, *, find_unused_parameters: bool = False) -> None:
        super().__init__(device)
        self.find_unused_parameters = find_unused_parameters
        if world_size() == 1:
            raise TrainingError(
                "train.strategy=ddp needs several processes: start with "
                "`torchrun --nproc-per-node 2 -m vitrail train …`, or use train.strategy=auto"
            )

    @property
    def loss_scale(self) -> float:
        """The number of processes, over which DDP takes the mean."""
        return float(world_size())

    def synchronise_norms(self, model: Model) -> Model:
        """Return `model` with PyTorch's synchronised batch norms on CUDA, the only device that has them."""
        return with_synchronised_norms(model, self.device)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return `model` in `DistributedDataParallel`; parameters and buffers become those of rank 0."""
        return DistributedDataParallel(
            model,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            find_unused_parameters=self.find_unused_parameters,
        )

    def accumulate(self, network: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """Return DDP's `no_sync` context."""
        if not isinstance(network, DistributedDataParallel):
            raise TypeError(f"expected what wrap() returned, got {type(network).__name__}")
        return network.no_sync()

    def evaluation_model(self, model: Model) -> Model:
        """Return `model` itself, with rank 0's buffers."""
        broadcast_buffers(model)
        return model


def with_synchronised_norms(model: Model, device: torch.device) -> Model:
    """Return `model` with PyTorch's synchronised batch norms on CUDA, the only device that has them."""
    if device.type != "cuda":
        return model
    converted: Model = convert_sync_batchnorm(model)
    return converted


@register_strategy("auto")
def choose(device: torch.device) -> Strategy:
    """Return DDP for several processes, a single device for one."""
    return DataParallel(device) if world_size() > 1 else SingleDevice(device)
