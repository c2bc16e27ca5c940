"""Kernels chosen for a block, deterministic algorithms, compiled modules, CUDA graphs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitrail.runtime.graphs import GraphedFunction
from vitrail.runtime.kernels import CompiledModule, deterministic_algorithms, training_kernels

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def switches() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return cudnn.benchmark, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize(("tf32", "deterministic"), [(True, False), (False, True)])
def test_cuda_kernels_are_chosen_for_a_block_and_then_as_before(tf32: bool, deterministic: bool) -> None:
    before = switches()
    with (
        pytest.raises(ZeroDivisionError),
        training_kernels(torch.device("cuda"), tf32=tf32, deterministic=deterministic),
    ):
        assert switches() == (not deterministic, tf32, tf32)
        raise ZeroDivisionError
    assert switches() == before


def test_nothing_changes_on_the_cpu() -> None:
    before = switches()
    with training_kernels(torch.device("cpu"), tf32=True, deterministic=False):
        assert switches() == before


def test_deterministic_algorithms_for_a_block() -> None:
    with deterministic_algorithms(False):
        assert not torch.are_deterministic_algorithms_enabled()
    with deterministic_algorithms(True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


def broken_backend(graph: Any, inputs: Any) -> Any:
    raise RuntimeError("no compiler here")


def test_a_module_that_cannot_be_compiled_runs_without_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module, dynamic: compile(module, backend=broken_backend))
    module = nn.Linear(3, 2)
    compiled, x = CompiledModule(module), torch.randn(1, 3)
    with pytest.warns(UserWarning, match="runs without it.*no compiler here"):
        result = compiled(x)
    torch.testing.assert_close(result, module(x))
    torch.testing.assert_close(compiled(x), module(x))  # no second warning: warnings are errors here


def test_an_error_of_the_module_itself_is_not_taken_for_one_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module, dynamic: compile(module, backend="eager"))

    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("one image at a time")

    with pytest.raises(ValueError, match="one image at a time"):
        CompiledModule(Failing())(torch.randn(1, 3))


@needs_cuda
def test_a_graph_computes_what_the_function_does_for_each_shape() -> None:
    module = nn.Conv2d(3, 4, 3).cuda().eval()
    with torch.no_grad():
        graphed = GraphedFunction(module, max_shapes=2)
        for size in (8, 9, 10, 8):
            first, second = (torch.randn(1, 3, size, size, device="cuda") for _ in range(2))
            results = graphed(first), graphed(second)
            torch.testing.assert_close(results, (module(first), module(second)))
