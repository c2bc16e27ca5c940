"""Operators with a gradient of their own: equal to PyTorch's, opaque to the compiler, untouched by autocast."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, library, nn
from torch.nn import functional as F

from vitrail.layers.pooling import AdaptiveAveragePool, average_by_products
from vitrail.layers.resize import resize_by_products
from vitrail.losses import CrossEntropyLoss

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def a_map(height: int, width: int, layout: torch.memory_format, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, height, width, dtype=dtype).contiguous(memory_format=layout).requires_grad_()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("source", "target"), [((5, 7), (20, 31)), ((20, 31), (5, 7)), ((1, 1), (8, 9)), ((6, 6), (6, 13))]
)
def test_resizing_by_products(
    source: tuple[int, int], target: tuple[int, int], align_corners: bool, layout: torch.memory_format
) -> None:
    x = a_map(*source, layout)
    expected = F.interpolate(x, size=target, mode="bilinear", align_corners=align_corners)
    resized = resize_by_products(x, *target, align_corners)
    torch.testing.assert_close(resized, expected)
    gradient = torch.randn_like(expected)
    found = torch.autograd.grad(resized, x, gradient)[0]
    torch.testing.assert_close(found, torch.autograd.grad(expected, x, gradient)[0])
    assert found.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("height", "width", "size"), [(64, 63, 6), (3, 5, 6), (7, 7, 2)])
def test_averaging_by_products(height: int, width: int, size: int, layout: torch.memory_format) -> None:
    x = a_map(height, width, layout)
    expected, pooled = AdaptiveAveragePool(size)(x), average_by_products(x, size)
    torch.testing.assert_close(pooled, expected)
    gradient = torch.randn_like(expected)
    torch.testing.assert_close(*(torch.autograd.grad(y, x, gradient)[0] for y in (pooled, expected)))


def test_autocast_does_not_round_them() -> None:
    x = a_map(5, 7, torch.contiguous_format, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        resized, pooled = resize_by_products(x, 9, 9, False), average_by_products(x, 2)
    assert resized.dtype == pooled.dtype == torch.float32
    torch.testing.assert_close(resized, F.interpolate(x, size=(9, 9), mode="bilinear"))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # in opcheck itself
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resize_bilinear", (8, 9, False)),
        ("adaptive_average", (2,)),
        ("row_loss", (torch.zeros(2, 8, 7, dtype=torch.int64), torch.ones(3), 1.0, 0.0, False, False)),
    ],
)
def test_they_are_custom_operators_that_a_compiler_can_use(name: str, arguments: tuple[object, ...]) -> None:
    x = a_map(4, 7, torch.contiguous_format, torch.float32)
    library.opcheck(getattr(torch.ops.vitrail, name).default, (x, *arguments))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 5, 3, padding=1)
        self.loss = CrossEntropyLoss(class_weights=[1, 2, 3, 1, 1])

    def forward(self, x: Tensor, targets: Tensor) -> Tensor:
        x = self.convolution(x)
        context = resize_by_products(average_by_products(x, 2), x.shape[2], x.shape[3], False)
        loss: Tensor = self.loss(x + context, targets)
        return loss


def test_compiled_in_one_piece_with_the_same_gradient() -> None:
    model, x, targets = Small(), torch.randn(2, 3, 8, 8), torch.randint(0, 5, (2, 16, 16))
    expected = torch.autograd.grad(model(x, targets), model.convolution.weight)[0]
    compiled = torch.compile(model, dynamic=False, fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(x, targets), model.convolution.weight)[0]
    torch.testing.assert_close(found, expected)
