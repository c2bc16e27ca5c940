"""Programs for any size of encoders and heads that compute with the sizes of their maps."""

from __future__ import annotations

import pytest
import torch
from helpers.small import CLASSES, small
from timm.layers import padding
from torch import Tensor

from vitrail import create_model
from vitrail.export.graph import ExportGraph
from vitrail.export.pt2_format import trace_program
from vitrail.export.same_padding import plain_same_padding
from vitrail.segmentors import Segmentor
from vitrail.transforms import Normalize


def exportable(model: Segmentor) -> ExportGraph:
    return ExportGraph(model.eval(), Normalize((120.0, 120.0, 120.0), (60.0, 60.0, 60.0)), "raw")


def images(count: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (2, 1), (3, 1), (3, 2), (5, 1)])
def test_same_padding_is_that_of_timm(kernel_size: int, stride: int, dilation: int) -> None:
    sizes = range(1, 40)
    expected = [padding.get_same_padding(size, kernel_size, stride, dilation) for size in sizes]
    with plain_same_padding():
        assert [padding.get_same_padding(size, kernel_size, stride, dilation) for size in sizes] == expected


def test_sizes_of_an_encoder_with_same_padding_stay_short_expressions() -> None:
    graph = exportable(create_model("fpn", "tf_mobilenetv3_small_100", num_classes=CLASSES))
    program = trace_program(graph, images(2, 128, 160), any_size=True)
    values = [node.meta["val"] for node in program.graph.nodes if isinstance(node.meta.get("val"), Tensor)]
    sides = [str(side) for value in values for side in value.shape if isinstance(side, torch.SymInt)]
    assert len(sides) > 100 and max(map(len, sides)) < 80  # by timm's own they grow to thousands of characters


@pytest.mark.parametrize("name", ["lraspp", "psanet"])
def test_one_program_for_maps_of_any_size(name: str) -> None:
    torch.manual_seed(0)
    graph = exportable(small(name))
    module = trace_program(graph, images(2, 128, 160), any_size=True).module()
    # LR-ASPP has maps smaller and larger than its windows, PSANet with odd sides, even ones, and one of each.
    for size in ((64, 72), (72, 72), (136, 200), (400, 520)):
        x = images(1, *size)
        with torch.no_grad():
            torch.testing.assert_close(module(x)[0], graph(x)[0], rtol=0, atol=1e-5)
