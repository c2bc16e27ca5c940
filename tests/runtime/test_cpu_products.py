"""Products that oneDNN computes: the same values and gradients as PyTorch's own choice, and when they are chosen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import tiny_training as tiny
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from vitrail import ModelCard, Predictor, create_model
from vitrail.checkpoints import load_model
from vitrail.runtime import cpu_products
from vitrail.runtime.cpu_products import OneDnnProducts, fast_products, mkl_is_slow
from vitrail.runtime.device import autocast
from vitrail.training import train

CPU = torch.device("cpu")
LINEAR, CONVOLUTION = "mkldnn._linear_pointwise", "aten.convolution"

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")


class Operations(TorchDispatchMode):
    """Notes the operations that a block runs, and their arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.arguments: dict[str, tuple[Any, ...]] = {}
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function).rpartition(".")[0]
        self.arguments[name] = args
        self.count += name == LINEAR
        return function(*args, **(kwargs or {}))


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(4096, 24), (2, 64, 48, 24), (2, 24, 4096)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_and_their_gradients_are_the_same(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(24, 40, bias=bias)
    x = torch.randn(shape)
    if shape[-1] != 24:
        x = x.transpose(1, 2)  # not contiguous
    results = []
    for context in (OneDnnProducts(), torch.enable_grad()):
        inputs = x.clone().requires_grad_()
        with context, Operations() as operations:
            outputs = layer(inputs)
            gradients = torch.autograd.grad(outputs.pow(2).sum() + outputs.sum(), [inputs, *layer.parameters()])
        results.append((outputs, *gradients))
        assert operations.count == (3 if isinstance(context, OneDnnProducts) else 0)
    for found, expected in zip(*results, strict=True):
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-2 * expected.abs().max().item() / 100)


def test_a_frozen_layer_gets_no_gradients_and_an_expanded_gradient_is_taken() -> None:
    layer = nn.Linear(64, 64).requires_grad_(False)
    x = torch.randn(1024, 64, requires_grad=True)
    with OneDnnProducts(), Operations() as operations:
        layer(x).sum().backward()
    assert operations.count == 2 and layer.weight.grad is None and layer.bias.grad is None
    assert x.grad is not None
    close(x.grad, layer.weight.sum(dim=0).expand(1024, 64))


def test_one_vector_is_a_product_too() -> None:
    layer, x = nn.Linear(2048, 1536), torch.randn(2048)
    with torch.no_grad(), OneDnnProducts():
        found = layer(x)
    with torch.no_grad():
        close(found, layer(x))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"padding": 3}, {"padding": "same"}, {"groups": 4}])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_convolutions_of_one_position_are_the_same(options: dict[str, Any], layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 24, 1, **options).to(memory_format=layout)
    x = torch.randn(2, 16, 40, 36).contiguous(memory_format=layout)
    with torch.no_grad():
        with OneDnnProducts(), Operations() as operations:
            found = layer(x)
        assert operations.arguments[CONVOLUTION][5] == [2, 2]  # the dilation
        close(found, layer(x))


@pytest.mark.usefixtures("one_thread")
def test_other_convolutions_are_left_alone() -> None:
    wide, single = nn.Conv2d(16, 8, 3), nn.Conv2d(16, 8, 1)
    with OneDnnProducts():
        for layer, side, gradients in ((wide, 64, False), (single, 8, False), (single, 64, True)):
            with Operations() as operations, torch.set_grad_enabled(gradients):
                layer(torch.randn(1, 16, side, side))
            assert operations.arguments[CONVOLUTION][5] == [1, 1]


def test_small_products_and_other_types_are_left_alone() -> None:
    with OneDnnProducts(), Operations() as operations, torch.no_grad():
        nn.Linear(16, 16)(torch.randn(64, 16))
        nn.Linear(64, 64, dtype=torch.float64)(torch.randn(1024, 64, dtype=torch.float64))
        with autocast(CPU, "bfloat16"):
            assert nn.Linear(64, 64)(torch.randn(1024, 64)).dtype == torch.bfloat16
    assert operations.count == 0


def test_gradients_of_gradients_are_refused_rather_than_wrong() -> None:
    layer, x = nn.Linear(64, 64), torch.randn(1024, 64, requires_grad=True)
    with OneDnnProducts():
        (gradient,) = torch.autograd.grad(layer(x).pow(2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("maker", "capability", "chosen"),
    [
        ("AuthenticAMD", "AVX512", True),
        ("AuthenticAMD", "AVX2", False),
        ("GenuineIntel", "AVX512", False),
        ("Intel64 Family 6 Model 85 Stepping 7, GenuineIntel", "AVX512", False),
    ],
)
def test_the_processor_decides(monkeypatch: pytest.MonkeyPatch, maker: str, capability: str, chosen: bool) -> None:
    monkeypatch.setattr(cpu_products, "processor_maker", lambda: maker)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    mkl_is_slow.cache_clear()
    try:
        assert isinstance(fast_products(CPU), OneDnnProducts) == chosen
        assert not isinstance(fast_products(torch.device("cuda")), OneDnnProducts)
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
        assert not isinstance(fast_products(CPU), OneDnnProducts)
    finally:
        mkl_is_slow.cache_clear()


def test_a_compiled_program_chooses_its_own_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_products, "mkl_is_slow", lambda: True)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not isinstance(fast_products(CPU), OneDnnProducts)


def test_linear_of_functional_is_replaced_by_keyword_too() -> None:
    x, weight, bias = torch.randn(1024, 64), torch.randn(64, 64), torch.randn(64)
    with OneDnnProducts(), Operations() as operations:
        found = F.linear(input=x, weight=weight, bias=bias)
    assert operations.count == 1
    close(found, F.linear(x, weight, bias))


@pytest.fixture
def chosen_for_every_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_products, "mkl_is_slow", lambda: True)
    monkeypatch.setattr(cpu_products, "_MIN_PRODUCT", 1)


@pytest.mark.usefixtures("chosen_for_every_product")
def test_prediction_computes_so() -> None:
    model = create_model("segformer", "mit_b0", num_classes=2, channels=16)
    model.card = ModelCard(("sky", "road"), ((0, 0, 0), (1, 1, 1)))
    predictor = Predictor(model, device="cpu")
    with Operations() as operations:
        predictor.predict(np.zeros((64, 64, 3), np.uint8))
    assert operations.count


@pytest.mark.usefixtures("chosen_for_every_product")
def test_training_computes_so_forward_and_backward(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny.register(monkeypatch.setitem)
    model = {"segmentor": "segformer", "backbone": "mit_b0", "pretrained": False, "options": {"channels": 16}}
    recipe = tiny.recipe(model=model, train__iterations=1, train__batch_size=2, train__eval_every=2)
    with Operations() as operations:
        train(recipe, output_dir=tmp_path / "run", device="cpu")
    layers = sum(isinstance(layer, nn.Linear) for layer in load_model(tmp_path / "run/last.safetensors").modules())
    assert operations.count > 2 * layers  # the products of the backward pass are twice those of the forward pass
