"""Device, memory format and precision of a computation."""

from __future__ import annotations

import contextlib

import torch

from vitrail.errors import DeviceError, nearest
from vitrail.precision import PRECISIONS, Precision
from vitrail.runtime.distributed import local_rank

HALF_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """Return the device of this process.

    Parameters
    ----------
    name : str or torch.device, optional
        Such as "cuda:1". None takes the best available device: CUDA, then Apple's MPS, then the CPU. Under `torchrun`,
        "cuda" without a number is the one with the local rank of this process, and MPS, which has no collective
        communication, is only taken when it is named.

    Raises
    ------
    DeviceError
        When the device is not available.
    """
    if name is None:
        name = _best()
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"unknown device {str(name)!r}; try cpu, cuda, cuda:0 or mps") from error
    if device.type == "cuda":
        return _cuda(device)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device mps asked for, but torch sees none; try device cpu")
    if device.type not in ("cpu", "mps") and not _accelerator_present(device.type):
        raise DeviceError(f"device {device} asked for, but torch sees none; try device cpu")
    return device


def memory_layout(channels_last: bool | None, device: torch.device) -> torch.memory_format:
    """Return the memory format of images and weights in training.

    Parameters
    ----------
    channels_last : bool or None
        Whether to use channels_last. None uses it everywhere but on the CPU, where prediction is faster with it too,
        but a training step takes up to a quarter longer (`benchmarks/methods.py --channels-last`), as the gradients of
        weights are computed and copied in another format.
    device : torch.device
        The device that the model is trained on.
    """
    if channels_last is None:
        channels_last = device.type != "cpu"
    return torch.channels_last if channels_last else torch.contiguous_format


def autocast(device: torch.device, amp: Precision) -> contextlib.AbstractContextManager[object]:
    """Return a context in which the operations that tolerate it run in half precision.

    Parameters
    ----------
    device : torch.device
        The device of the operations.
    amp : {"none", "bfloat16", "float16"}
        "none" leaves everything in float32.

    Raises
    ------
    DeviceError
        When the precision is unknown, or the device does not have it.
    """
    if amp not in PRECISIONS:
        raise DeviceError(f"unknown amp={amp!r}.{nearest(str(amp), PRECISIONS)} Known: {', '.join(PRECISIONS)}.")
    if amp == "none":
        return contextlib.nullcontext()
    if amp == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError(f"{torch.cuda.get_device_name(device)} has no bfloat16; use amp=float16 or amp=none")
    return torch.amp.autocast(device.type, dtype=HALF_DTYPES[amp])


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available() and local_rank() is None:
        return "mps"
    return "cpu"


def _cuda(device: torch.device) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise DeviceError(f"device {device} asked for, but torch sees none; try device cpu")
    index = device.index if device.index is not None else (local_rank() or 0)
    if index >= count:
        raise DeviceError(f"device cuda:{index} asked for, but torch sees {count} (cuda:0 to cuda:{count - 1})")
    return torch.device("cuda", index)


def _accelerator_present(kind: str) -> bool:
    backend = getattr(torch, kind, None)
    return bool(backend is not None and hasattr(backend, "is_available") and backend.is_available())
