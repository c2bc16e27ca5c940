"""Programs for any size of encoders and heads that compute with the sizes of their maps."""

from __future__ import annotations

import inspect
import io
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from helpers.small import CLASSES, small
from timm.layers import padding
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional as F

from vitrail import create_model
from vitrail.backbones.mit import MixFFN
from vitrail.errors import ExportError
from vitrail.export.graph import ExportGraph
from vitrail.export.padding import plain_padding
from vitrail.export.pt2_format import TorchExporter, trace_program
from vitrail.layers import resize
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
    with plain_padding():
        assert [padding.get_same_padding(size, kernel_size, stride, dilation) for size in sizes] == expected


def test_sizes_of_an_encoder_with_same_padding_stay_short_expressions() -> None:
    graph = exportable(create_model("fpn", "tf_mobilenetv3_small_100", num_classes=CLASSES))
    program = trace_program(graph, images(2, 128, 160), any_size=True)
    values = [node.meta["val"] for node in program.graph.nodes if isinstance(node.meta.get("val"), Tensor)]
    sides = [str(side) for value in values for side in value.shape if isinstance(side, torch.SymInt)]
    assert len(sides) > 100 and max(map(len, sides)) < 80  # by timm's own they grow to thousands of characters


def traced(module: nn.Module) -> ExportedProgram:
    """Return the program of a module of maps [2, 1, H, W], for any H and W."""
    variable = torch.export.Dim.DYNAMIC
    sides = {2: variable(min=64, max=4096), 3: variable(min=64, max=4096)}
    return torch.export.export(module, (torch.zeros(2, 1, 501, 403),), dynamic_shapes=(sides,), strict=False)


def unguarded(program: ExportedProgram) -> nn.Module:
    """Return what runs a program for all sizes, as vitrail opens a file; see `docs/export.md`."""
    guarded = "check_guards" in inspect.signature(program.module).parameters
    return program.module(check_guards=False) if guarded else program.module()


class Windows(nn.Module):
    """Pads maps to whole windows, as timm does, and sums each window up; several times, of maps cut to their size."""

    def forward(self, x: Tensor) -> Tensor:
        for side in (7, 8, 2, 5):
            height, width = x.shape[-2:]
            below, right = (side - height % side) % side, (side - width % side) % side
            windows = F.pad(x, (0, right, 0, below)).unflatten(-1, (-1, side)).unflatten(-3, (-1, side))
            x = (x + F.pad(windows.sum((-1, -3)), (0, width, 0, height))[..., :height, :width])[..., 1:, 2:]
        return x


def test_maps_padded_to_a_multiple_as_timm_does_stay_short_expressions() -> None:
    class Plain(Windows):
        def forward(self, x: Tensor) -> Tensor:
            with plain_padding():
                return super().forward(x)

    program = traced(Plain())
    values = [node.meta["val"] for node in program.graph.nodes if isinstance(node.meta.get("val"), Tensor)]
    assert max(len(str(side)) for value in values for side in value.shape) < 60
    for height, width in [(64, 65), (70, 112), (113, 280), (500, 501)]:
        x = torch.randn(2, 1, height, width)
        torch.testing.assert_close(unguarded(program)(x), Windows()(x))


class Rounded(nn.Module):
    """Enlarges maps to whole patches as timm's MobileViT does."""

    def forward(self, x: Tensor) -> Tensor:
        with plain_padding():
            height, width = (math.ceil(side / 7) * 7 for side in x.shape[-2:])
            return F.interpolate(x, (height, width), mode="bilinear")


def test_a_quotient_rounded_up_as_timm_does_can_be_written() -> None:
    program = traced(Rounded())
    content = io.BytesIO()
    torch.export.save(program, content)
    content.seek(0)
    module = unguarded(torch.export.load(content))
    for height, width in [(64, 65), (70, 112), (500, 501)]:
        x = torch.randn(2, 1, height, width)
        torch.testing.assert_close(module(x), Rounded()(x))


class Ceil(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(math.ceil(x.shape[-1] / 7))


def test_what_a_file_cannot_hold_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot write this model\n.*ceil"):
        TorchExporter().write(traced(Ceil()), tmp_path / "m.pt2", "{}")
    assert not list(tmp_path.iterdir())


def assert_one_program_for(model: Segmentor, sizes: Sequence[tuple[int, int]]) -> None:
    graph = exportable(model)
    program = trace_program(graph, images(2, 128, 160), any_size=True)
    module = unguarded(program)
    for size in sizes:
        x = images(1, *size)
        with torch.no_grad():
            torch.testing.assert_close(module(x)[0], graph(x)[0], rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["lraspp", pytest.param("pan", marks=pytest.mark.nightly), "psanet"])
def test_methods_that_compute_with_sizes(name: str) -> None:
    """LR-ASPP has maps smaller and larger than its windows, PSANet with odd sides, even ones, one of each, PAN of 1."""
    torch.manual_seed(0)
    assert_one_program_for(small(name), [(64, 72), (72, 72), (136, 200), (400, 520)])


class Resized(nn.Module):
    """Resizes a map to its own size, which is nothing, and a coarser one to that."""

    def forward(self, x: Tensor) -> Tensor:
        return resize(x, x.shape[-2:]) + resize(F.avg_pool2d(x, 2), x.shape[-2:])


def test_what_is_known_to_have_a_size_is_not_resized_to_it() -> None:
    program = traced(Resized())
    assert sum("upsample" in str(node.target) for node in program.graph.nodes) == 1
    x = torch.randn(2, 1, 113, 280)
    torch.testing.assert_close(unguarded(program)(x), Resized()(x))


class MapFirst(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.permute(0, 2, 3, 1))


def test_the_mlp_of_mit_is_pointwise_convolutions_in_programs() -> None:
    torch.manual_seed(0)
    mlp = MixFFN(1, 6)
    program = traced(MapFirst(mlp))
    assert not any("linear" in str(node.target) for node in program.graph.nodes)
    x = torch.randn(2, 1, 113, 280)
    torch.testing.assert_close(unguarded(program)(x), MapFirst(mlp)(x))


@pytest.mark.nightly
@pytest.mark.parametrize(
    "backbone",
    [
        "swin_tiny_patch4_window7_224",
        "twins_svt_small",
        "tf_efficientnet_b0",
        "swinv2_tiny_window8_256",
        "davit_tiny",
        "tiny_vit_5m_224",
        "swinv2_cr_tiny_224",
    ],
)
def test_encoders_that_pad_their_maps(backbone: str) -> None:
    """224 is a multiple of every window and patch, 161 of none, and 112 of those of some stages."""
    torch.manual_seed(0)
    model = create_model("fpn", backbone, num_classes=CLASSES)
    assert_one_program_for(model, [(64, 64), (112, 224), (161, 129), (333, 500)])
