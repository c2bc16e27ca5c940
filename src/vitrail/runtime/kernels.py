"""Which kernels PyTorch chooses: cuDNN's search, TF32, deterministic ones, oneDNN's; and compiled models."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from vitrail.runtime.cpu_products import fast_products


@contextlib.contextmanager
def training_kernels(
    device: torch.device, *, tf32: bool, deterministic: bool, compiled: bool = False
) -> Iterator[None]:
    """Choose the kernels of a training step, for a block: on CUDA, and on the CPU those of `fast_products`.

    Parameters
    ----------
    device : torch.device
        The device of the step.
    tf32 : bool
        Whether float32 convolutions and matrix products may use TF32 (10 bits of mantissa).
    deterministic : bool
        False lets cuDNN time its algorithms for each new shape and take the fastest: the shapes of a training step
        repeat.
    compiled : bool
        Whether the step is compiled, and chooses its own kernels on the CPU.
    """
    if device.type != "cuda":
        with contextlib.nullcontext() if compiled else fast_products(device):
            yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = not deterministic, tf32, tf32
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before


@contextlib.contextmanager
def deterministic_algorithms(enabled: bool) -> Iterator[None]:
    """Make PyTorch use deterministic algorithms for a block, and refuse operations that have none, where `enabled`."""
    if not enabled:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)


class CompiledModule:
    """A module compiled by `torch.compile` for the shapes that it is called with; eager where that fails.

    Parameters
    ----------
    module : nn.Module
        Called as it would be without compilation.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._call: Any = torch.compile(module, dynamic=False)

    def __call__(self, *args: Any) -> Any:
        """Return what the module returns.

        Warns
        -----
        UserWarning
            When the module cannot be compiled; it runs without compilation from then on.
        """
        try:
            return self._call(*args)
        except torch._dynamo.exc.TorchDynamoException as error:
            if self._call is self._module:
                raise
            reason = " ".join(str(error).split("\n\n")[0].split())  # what follows is about debugging
            warnings.warn(f"torch.compile failed, so the model runs without it: {reason}", stacklevel=2)
            self._call = self._module
            return self._call(*args)
