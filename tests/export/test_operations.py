"""Operations that are replaced in exported files: the same results, in operations that the format has."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.evaluation_models import Linear, small_model
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from vitrail.errors import ExportError
from vitrail.export import export_model
from vitrail.export.graph import ExportGraph
from vitrail.export.onnx_format import OnnxExporter, trace_onnx
from vitrail.export.operations import PlainResizing, PreluAsSum
from vitrail.layers.interpolation import cubic_matrix
from vitrail.transforms import Normalize

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the [export] extra",
)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 3), (2, 3, 4), (1, 3, 1, 1)])
@pytest.mark.parametrize("weights", [1, 3])
def test_parametric_relu_as_a_sum_is_the_same(shape: tuple[int, ...], weights: int) -> None:
    x, weight = torch.randn(*shape), torch.tensor([0.25, -0.5, 1.5])[:weights]
    with PreluAsSum():
        found = F.prelu(x, weight)
    torch.testing.assert_close(found, F.prelu(x, weight))


@pytest.mark.parametrize("source", [(14, 14), (1, 2), (37, 23)])
@pytest.mark.parametrize("target", [(32, 20), (5, 3), (14, 14)])
def test_bicubic_interpolation_by_products_is_the_same(source: tuple[int, int], target: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *source, dtype=torch.float64)
    expected = F.interpolate(x, target, mode="bicubic")
    with PlainResizing():
        found = F.interpolate(x, size=target, mode="bicubic", align_corners=False)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


def test_rows_of_a_cubic_matrix_sum_to_one() -> None:
    sums = cubic_matrix(9, 31, torch.zeros(1)).sum(dim=1)
    torch.testing.assert_close(sums, torch.ones(31))


@pytest.mark.parametrize(
    "options",
    [
        {"size": (9, 9), "mode": "bicubic", "align_corners": True},
        {"size": (9, 9), "mode": "bicubic", "antialias": True},
        {"scale_factor": 1.3, "mode": "bilinear"},
        {"scale_factor": 0.5, "mode": "bilinear", "align_corners": True},
        {"scale_factor": (2.0, 3.0)},
        {"size": (9, 9), "mode": "bilinear"},
        {"size": 9},
    ],
)
def test_other_interpolations_are_left_alone(options: dict[str, object]) -> None:
    x = torch.randn(1, 2, 4, 6)
    expected = F.interpolate(x, **options)
    with PlainResizing():
        assert torch.equal(F.interpolate(x, **options), expected)


@pytest.mark.parametrize("mode", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize(("factor", "size"), [(2.0, (4, 5)), (0.5, (4, 6)), (0.5, (9, 13)), (0.25, (11, 8))])
def test_resizing_by_a_factor_is_resizing_to_a_size(mode: str, factor: float, size: tuple[int, int]) -> None:
    x = torch.randn(1, 2, *size, dtype=torch.float64)
    expected = F.interpolate(x, scale_factor=factor, mode=mode)
    with Calls() as calls, PlainResizing():
        found = F.interpolate(x, scale_factor=factor, mode=mode)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    sizes = [arguments["size"] for function, arguments in calls.noted if function is F.interpolate]
    whole = all(factor * length == int(factor * length) for length in size)
    assert sizes == (
        [None] if mode == "bicubic" and not whole else [] if mode == "bicubic" else [[*expected.shape[2:]]]
    )


class Calls(TorchFunctionMode):
    """Notes functions that are called, and their keyword arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[object, dict[str, Any]]] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.noted.append((function, kwargs or {}))
        return function(*args, **(kwargs or {}))


class Resized(Linear):
    """A head with a parametric ReLU, and with logits that are resized bicubically."""

    resizes_late = False

    def __init__(self, num_classes: int, align_corners: bool = False) -> None:
        super().__init__(num_classes, align_corners)
        self.activation = nn.PReLU(num_classes, init=0.3)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.activation(super().forward(features))

    def predict(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        return F.interpolate(F.avg_pool2d(self(features), 2), tuple(size), mode="bicubic")


@needs_onnx
def test_onnx_runtime_gets_other_operations_than_other_runtimes(tmp_path: Path) -> None:
    model = small_model(3, 4, head=Resized)
    assert export_model(model, tmp_path / "m.onnx", raw=True).check.passed  # at several sizes
    graph = ExportGraph(model, Normalize((0, 0, 0), (1, 1, 1)), "raw")
    example = torch.zeros(2, 3, 64, 96, dtype=torch.uint8)
    kinds = [
        {node.op_type for node in proto.graph.node}
        for proto in (OnnxExporter().trace(graph, example, any_size=True), trace_onnx(graph, example, any_size=True))
    ]
    assert [{"PRelu", "Resize"} & each for each in kinds] == [set(), {"PRelu", "Resize"}]


@needs_onnx
def test_what_onnx_cannot_express_is_named_with_its_cause() -> None:
    class Scaled(Linear):
        def forward(self, features: Sequence[Tensor]) -> Tensor:
            return super().forward(features) * torch.special.bessel_j0(features[0].mean())

    model = small_model(3, 4, head=Scaled)
    graph = ExportGraph(model.eval(), Normalize((120.0, 120.0, 120.0), (60.0, 60.0, 60.0)), "raw")
    with pytest.raises(ExportError, match=r"cannot express this model\n(?s:.*)bessel_j0") as raised:
        trace_onnx(graph, torch.zeros(2, 3, 64, 64, dtype=torch.uint8), any_size=False)
    assert "\x1b" not in str(raised.value) and "submit a PR" not in str(raised.value)
