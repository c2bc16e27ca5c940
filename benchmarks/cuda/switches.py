"""PyTorch's global switches: every row starts from the same ones, and leaves none changed."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

import torch

from vitrail.precision import Precision


@contextlib.contextmanager
def torch_defaults() -> Iterator[None]:
    """Start from PyTorch's defaults in a block, free its memory afterwards, and forget what it compiled."""
    _reset()
    try:
        yield
    finally:
        _reset()


def _reset() -> None:
    if "torch._dynamo" in sys.modules:  # which takes seconds to import
        torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = False
    torch.use_deterministic_algorithms(False)
    matmul_tf32(False)
    convolution_tf32(True)


def matmul_tf32(enabled: bool) -> None:
    """Let float32 matrix products use TF32 or not, which is PyTorch's default."""
    torch.set_float32_matmul_precision("high" if enabled else "highest")


def convolution_tf32(enabled: bool) -> None:
    """Let float32 convolutions use TF32, which is PyTorch's default, or not."""
    torch.backends.cudnn.allow_tf32 = enabled


def half(device: torch.device, amp: Precision) -> Precision:
    """Return the precision of a row: in a rehearsal on a CPU float32, since many CPUs only imitate the others."""
    return amp if device.type == "cuda" else "none"
