"""Linear layers and 1 × 1 convolutions on the CPU through oneDNN, where PyTorch takes MKL and MKL is slow."""

from __future__ import annotations

import contextlib
import functools
import math
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from vitrail.runtime.replacement import Replacement

# Multiplications of an image below which a product takes longer to prepare than it gains.
_MIN_PRODUCT = 1 << 21
# PyTorch's own limit, of elements: smaller inputs of a convolution are not given to oneDNN whatever its arguments are.
_MIN_INPUT = 20480


def fast_products(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return a context in which linear layers and 1 × 1 convolutions are computed by the faster library.

    PyTorch gives matrix products in float32 to MKL, and with one thread also the 1 × 1 convolutions. On processors of
    other makers than Intel, MKL does not use AVX-512, and oneDNN, which PyTorch has for other convolutions, is twice as
    fast (`benchmarks/cpu_products.py`). Elsewhere, for a program that is being compiled, and where oneDNN is switched
    off (`torch.backends.mkldnn.enabled`), the context does nothing.

    The functions are the same, but sums are rounded in another order. What decides is the processor, so that a
    training that is resumed on the same machine goes on bit for bit. `nn.MultiheadAttention` computes as before.

    Parameters
    ----------
    device : torch.device
        Where the block computes.
    """
    if device.type != "cpu" or torch.compiler.is_compiling() or not (mkl_is_slow() and torch.backends.mkldnn.enabled):
        return contextlib.nullcontext()
    return OneDnnProducts()


@functools.cache
def mkl_is_slow() -> bool:
    """Return whether this processor has AVX-512, MKL does not use it, and oneDNN is there."""
    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and "Intel" not in processor_maker()
    )


def processor_maker() -> str:
    """Return the name of the processor's maker, such as "AuthenticAMD" or "GenuineIntel"; "" where it is not known."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")


class OneDnnProducts(Replacement):
    """Gives linear layers, and with one thread 1 × 1 convolutions without gradients, to oneDNN."""

    def replaced(self, function: Callable[..., Any], args: Sequence[Any]) -> Callable[..., Any]:
        """See `Replacement`."""
        return _linear if function is F.linear else _conv2d if function is torch.conv2d else function


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `torch.nn.functional.linear(input, weight, bias)`."""
    if not _is_float32(input, weight) or _elements_of_image(input) * weight.shape[0] < _MIN_PRODUCT:
        return F.linear(input, weight, bias)
    if torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in (input, weight, bias)):
        result: Tensor = _Linear.apply(input, weight, bias)
        return result
    return _product(input, weight, bias)


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Return `torch.conv2d` of the same arguments.

    Dilation changes nothing where the kernel has one position, but dilated convolutions are given to oneDNN by
    PyTorch with one thread too. Its backward pass is not always faster.
    """
    if (
        tuple(weight.shape[2:]) == (1, 1)
        and torch.get_num_threads() == 1
        and _is_float32(input, weight)
        and _elements_of_image(input) > _MIN_INPUT
        and not torch.is_grad_enabled()
    ):
        dilation = 2
    return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)


def _elements_of_image(x: Tensor) -> int:
    """Return the number of elements of one image in a batch, so that what is chosen does not depend on the others."""
    return math.prod(x.shape[1:]) if x.ndim > 2 else x.numel()


def _is_float32(*tensors: Tensor) -> bool:
    """Return whether an operation on these tensors computes in float32 on the CPU, by PyTorch's own kernels."""
    return not torch.is_autocast_enabled("cpu") and all(
        type(tensor) in (Tensor, torch.nn.Parameter) and tensor.dtype == torch.float32 and tensor.is_cpu
        for tensor in tensors
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x · weightᵀ + bias, [..., N], of x [..., K], weight [N, K] and bias [N], by oneDNN."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


class _Linear(torch.autograd.Function):
    """A linear layer whose three products are computed by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See `_product`."""
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weight and bias that are needed."""
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            _product(gradient, weight.t()) if of_x else None,
            _product(rows.t(), x.reshape(-1, x.shape[-1]).t()) if of_weight else None,
            rows.sum(dim=0) if of_bias else None,
        )
