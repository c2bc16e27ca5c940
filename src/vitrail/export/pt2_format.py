"""PyTorch's own format: a program of `torch.export` in a .pt2 file."""

from __future__ import annotations

import functools
import inspect
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx.experimental import _config as fx_config

from vitrail.errors import ExportError
from vitrail.export.exporter import ReducedPrecision, Runner, register_exporter
from vitrail.export.graph import AutocastGraph, ExportGraph
from vitrail.runtime.device import HALF_DTYPES

MIN_SIDE = 64  # of images; smaller feature maps have sides of one pixel, for which programs are specialised
MAX_SIDE = 16384
# The size that a program for any size is traced with. Tracing takes an axis for one of a single position, or one that
# pooling divides without a rest, where it is so in the example. Here the axes of all strides are long and odd: they
# have 64 n + 1 pixels, and are longer than all windows.
_TRACED_SIZE = (2177, 2433)
METADATA_NAME = "vitrail.json"
_ANY_SIDES = [(MIN_SIDE, MAX_SIDE)] * 2
_MAX_METADATA = 16 << 20  # bytes


@register_exporter("pt2")
class TorchExporter:
    """Exports with `torch.export`.

    `torch.export.load(path).module(check_guards=False)` runs the file on any device of PyTorch's.
    """

    suffix: ClassVar[str] = ".pt2"
    modules: ClassVar[Mapping[str, str]] = {}
    runs_code: ClassVar[bool] = True  # torch.export.load unpickles and evaluates text
    precisions: ClassVar[tuple[ReducedPrecision, ...]] = ("bfloat16", "float16")

    def trace(self, graph: ExportGraph, example: Tensor, *, any_size: bool) -> ExportedProgram:
        """Return the program of the graph; see `Exporter.trace`."""
        self._trace = functools.partial(trace_program, graph, example, any_size=any_size)
        return self._trace()

    def reduce(
        self, program: ExportedProgram, precision: ReducedPrecision, images: Sequence[Tensor]
    ) -> ExportedProgram:
        """Return the program of the graph under autocast; see `Exporter.reduce`. Weights stay in float32."""
        traced = self._trace(precision=precision)
        # Casts become operations of their own: an autocast region is of one type of device, and the file of none.
        with fx_config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]  # or it may exclude one image
            return traced.run_decompositions({})

    def write(self, program: ExportedProgram, path: Path, metadata: str) -> None:
        """Write the program with its metadata; raises ExportError for an operation that such files cannot hold."""
        content = io.BytesIO()  # torch complains about the names of temporary files
        try:
            torch.export.save(program, content, extra_files={METADATA_NAME: metadata})
        except Exception as error:  # of torch's own kind
            raise ExportError(f"torch.export cannot write this model\n{first_lines(error)}") from error
        path.write_bytes(content.getvalue())

    def open(self, path: Path) -> Runner:
        """Return a function that runs the file."""
        program = torch.export.load(io.BytesIO(path.read_bytes()))
        # Guards compare strides, which differ where a map has one pixel or needs no padding: programs that compute the
        # same are refused. That they do is checked on images of several sizes when the file is written.
        guarded = "check_guards" in inspect.signature(program.module).parameters  # not in older versions of torch
        module = program.module(check_guards=False) if guarded else program.module()

        def run(images: Tensor) -> tuple[Tensor, ...]:
            with torch.no_grad():
                return tuple(module(images))

        return run

    def read_metadata(self, path: Path) -> str:
        """Return the metadata of the file."""
        return read_archive_metadata(path)


def read_archive_metadata(path: Path) -> str:
    """Return the metadata of a .pt2 file without loading its program."""
    with zipfile.ZipFile(path) as archive:
        (entry,) = (entry for entry in archive.infolist() if entry.filename.rpartition("/")[2] == METADATA_NAME)
        with archive.open(entry) as file:  # which expands no further than it is read, whatever size the archive states
            text = file.read(_MAX_METADATA + 1)
        if len(text) > _MAX_METADATA:
            raise ExportError(f"the metadata of {path} are too large")
        return text.decode()


def trace_program(
    graph: nn.Module, example: Tensor, *, any_size: bool, precision: ReducedPrecision | None = None
) -> ExportedProgram:
    """Return the program of a graph, for any number of images and, with `any_size`, images of any size.

    With `precision`, "bfloat16" or "float16", it is that of the graph under autocast.

    Raises
    ------
    ExportError
        With torch before 2.8, and when the model computes something that depends on the values of tensors or ties the
        program to one size.
    """
    if precision is not None:
        graph = AutocastGraph(graph, HALF_DTYPES[precision], example.device.type)
    variable = torch.export.Dim.DYNAMIC
    if not callable(variable):
        raise ExportError(f"exporting needs torch 2.8 or later, this is {torch.__version__}: upgrade torch")
    with torch.no_grad():  # what timm's attention keeps from its first run on has to be there, or torch warns of it
        graph(example)
    if any_size:
        example = example.new_zeros(*example.shape[:2], *_TRACED_SIZE)
    sides = {2: variable(min=MIN_SIDE, max=MAX_SIDE), 3: variable(min=MIN_SIDE, max=MAX_SIDE)} if any_size else {}
    shapes = ({0: variable(min=1), **sides},)
    try:
        with torch.no_grad():
            program = torch.export.export(graph, (example,), dynamic_shapes=shapes, strict=False)
            if any_size and _sides(program) != _ANY_SIDES:
                # torch.onnx sets it too; a module that replaces itself has no type
                with fx_config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
                    program = torch.export.export(graph, (example,), dynamic_shapes=shapes, strict=False)
    except Exception as error:  # torch raises many kinds
        problem = "torch.export cannot express this model" + (" for any size" if any_size else "")
        raise ExportError(f"{problem}:\n{first_lines(error)}") from error
    if any_size and (found := _sides(program)) != _ANY_SIDES:
        height, width = (f"{low} to {high}" for low, high in found)
        raise ExportError(
            f"torch.export ties this model to images whose height is {height} and whose width is {width}, "
            f"instead of {MIN_SIDE} to {MAX_SIDE}"
        )
    return program


def _sides(program: ExportedProgram) -> list[tuple[int, int]]:
    """Return the smallest and the largest height, and width, of the images that a program takes."""
    (images,) = (node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs)
    ranges = []
    for side in images.meta["val"].shape[2:]:
        if isinstance(side, int):
            ranges.append((side, side))
        else:
            interval = program.range_constraints[side.node.expr]
            ranges.append((int(interval.lower), int(interval.upper)))
    return ranges


def first_lines(error: Exception) -> str:
    """Return the beginning of an error's message without empty lines, for the message of another one."""
    return "\n".join(line for line in str(error).splitlines() if line.strip())[:600]
