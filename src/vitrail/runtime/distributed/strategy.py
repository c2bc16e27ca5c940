"""Making a model train on several processes at once."""

from __future__ import annotations

from typing import TypeVar

import torch
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vitrail.runtime.distributed.group import world_size

Model = TypeVar("Model", bound=nn.Module)


def wrap_ddp(model: nn.Module, device: torch.device) -> nn.Module:
    """Return `model` wrapped so that gradients are averaged over the processes, or `model` itself if there is one.

    Parameters
    ----------
    model : nn.Module
        On `device`; its parameters and buffers become those of the main process.
    device : torch.device
        The device of this process.
    """
    if world_size() == 1:
        return model
    ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)


def synchronise_norms(model: Model, device: torch.device) -> Model:
    """Return `model` with batch norms that share their statistics over the processes, where PyTorch has them (CUDA).

    The names in the state dict stay the same. Elsewhere, and with one process, the model is returned as it is.
    """
    if world_size() == 1 or device.type != "cuda":
        return model
    converted: Model = convert_sync_batchnorm(model)
    return converted
