"""Programs for any size of encoders and heads that compute with the sizes of their maps."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

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


def assert_one_program_for(model: Segmentor, sizes: Sequence[tuple[int, int]]) -> None:
    graph = exportable(model)
    program = trace_program(graph, images(2, 128, 160), any_size=True)
    guarded = "check_guards" in inspect.signature(program.module).parameters
    module = program.module(check_guards=False) if guarded else program.module()
    for size in sizes:
        x = images(1, *size)
        with torch.no_grad():
            torch.testing.assert_close(module(x)[0], graph(x)[0], rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["lraspp", pytest.param("pan", marks=pytest.mark.nightly), "psanet"])
def test_methods_that_compute_with_sizes(name: str) -> None:
    """LR-ASPP has maps smaller and larger than its windows, PSANet with odd sides, even ones, one of each, PAN of 1."""
    torch.manual_seed(0)
    assert_one_program_for(small(name), [(64, 72), (72, 72), (136, 200), (400, 520)])


@pytest.mark.nightly
@pytest.mark.parametrize("backbone", ["swin_tiny_patch4_window7_224", "twins_svt_small", "tf_efficientnet_b0"])
def test_encoders_that_pad_their_maps(backbone: str) -> None:
    """224 is a multiple of every window and patch, 161 of none, and 112 of those of some stages."""
    torch.manual_seed(0)
    model = create_model("fpn", backbone, num_classes=CLASSES)
    assert_one_program_for(model, [(64, 64), (112, 224), (161, 129), (333, 500)])
