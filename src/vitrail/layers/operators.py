"""Operators with a gradient of their own, which `torch.compile` takes as they are."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, library
from torch.autograd.function import once_differentiable

Function = TypeVar("Function", bound=Callable[..., Any])


def operator(
    name: str, *, fake: Callable[..., Any], save: Callable[..., None], gradient: Callable[..., Any]
) -> Callable[[Function], Function]:
    """Make a function of tensors and numbers an operator, for code that is compiled and for code that is not.

    Compiled code calls it as the custom operator `vitrail::name`, so that the compiler neither traces into it nor
    replaces it. Other code calls it as a `torch.autograd.Function`, which takes less time to call. Autocast does not
    change what it computes in.

    Parameters
    ----------
    name : str
        Of the custom operator.
    fake : callable
        As the function, for tensors without data: returns empty tensors of the shapes and layouts of its results.
    save : callable
        `(ctx, inputs, output)`: saves what the gradient needs, as `setup_context` of `torch.autograd.Function` does.
    gradient : callable
        `(ctx, *gradients of the outputs)`: returns one gradient, or None, for each input.
    """

    def decorate(function: Function) -> Function:
        compute = _without_autocast(function)
        custom: Any = library.custom_op(f"vitrail::{name}", compute, mutates_args=())
        custom.register_fake(fake)
        custom.register_autograd(gradient, setup_context=save)

        class Eager(torch.autograd.Function):
            forward = staticmethod(compute)
            setup_context = staticmethod(save)
            backward = staticmethod(once_differentiable(gradient))  # type: ignore[assignment]

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            return custom(*args) if torch.compiler.is_compiling() else Eager.apply(*args)

        return cast(Function, call)

    return decorate


@functools.cache
def has_triton() -> bool:
    """Return whether Triton is installed, as it is with PyTorch for CUDA on Linux; without it, slower code is used."""
    return importlib.util.find_spec("triton") is not None


def _without_autocast(function: Function) -> Function:
    """Return a function that computes in the dtypes of its arguments, the first of which is a tensor."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        with torch.autocast(args[0].device.type, enabled=False):
            return function(*args)

    return cast(Function, call)


def gradient_operator(name: str, *, fake: Callable[..., Any]) -> Callable[[Function], Function]:
    """Make a function that computes the gradient of an operator opaque to the compiler; parameters as in `operator`."""

    def decorate(function: Function) -> Function:
        compute = _without_autocast(function)
        custom: Any = library.custom_op(f"vitrail::{name}", compute, mutates_args=())
        custom.register_fake(fake)

        @functools.wraps(function)
        def call(gradient: Tensor, *args: Any) -> Any:
            # While the compiler traces a gradient, tensors are of its own classes.
            return compute(gradient, *args) if type(gradient) is Tensor else custom(gradient, *args)

        return cast(Function, call)

    return decorate
