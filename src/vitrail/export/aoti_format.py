"""AOTInductor: a program that torch compiles ahead of time, in an .aoti.pt2 file for machines like this one."""

from __future__ import annotations

import functools
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.export import ExportedProgram

from vitrail.errors import ExportError
from vitrail.export.exporter import ReducedPrecision, Runner, register_exporter
from vitrail.export.graph import ExportGraph
from vitrail.export.pt2_format import METADATA_NAME, read_archive_metadata, trace_program
from vitrail.runtime.device import pick_device


class InductorProgram:
    """A program that is compiled once, when it is first written.

    Parameters
    ----------
    program : ExportedProgram
        On the device that it will run on.
    """

    def __init__(self, program: ExportedProgram) -> None:
        self.program = program

    @functools.cached_property
    def package(self) -> bytes:
        """The content of a file without metadata."""
        if shutil.which("g++") is None and shutil.which("clang++") is None:
            raise ExportError("AOTInductor needs a C++ compiler (g++ or clang++), and none is installed")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.pt2")
            try:
                torch._inductor.aoti_compile_and_package(self.program, package_path=str(path))
            except Exception as error:  # torch raises many kinds
                raise ExportError(f"AOTInductor cannot compile this model:\n{str(error)[:600]}") from error
            return path.read_bytes()


@register_exporter("aoti")
class InductorExporter:
    """Exports with AOTInductor; `torch._inductor.aoti_load_package(path)` runs the file.

    It holds machine code for the processor or the GPU of this machine, so it is compiled where it will run, or where
    the processor has the same instructions. A C++ compiler is needed for writing only.

    Parameters
    ----------
    device : str
        What it is compiled for, such as "cuda".
    """

    suffix: ClassVar[str] = ".aoti.pt2"
    modules: ClassVar[Mapping[str, str]] = {}
    runs_code: ClassVar[bool] = True  # machine code
    precisions: ClassVar[tuple[ReducedPrecision, ...]] = ("bfloat16", "float16")

    def __init__(self, *, device: str = "cpu") -> None:
        self.device = pick_device(device)

    def trace(self, graph: ExportGraph, example: Tensor, *, any_size: bool) -> InductorProgram:
        """Return the program of the graph; see `Exporter.trace`."""
        self._trace = functools.partial(self._program, graph, example, any_size=any_size)
        return self._trace()

    def _program(
        self, graph: ExportGraph, example: Tensor, *, any_size: bool, precision: ReducedPrecision | None = None
    ) -> InductorProgram:
        graph, example = graph.to(self.device), example.to(self.device)
        try:
            return InductorProgram(trace_program(graph, example, any_size=any_size, precision=precision))
        finally:
            graph.cpu()

    def reduce(
        self, program: InductorProgram, precision: ReducedPrecision, images: Sequence[Tensor]
    ) -> InductorProgram:
        """Return the program of the graph under autocast; see `Exporter.reduce`."""
        return self._trace(precision=precision)

    def write(self, program: InductorProgram, path: Path, metadata: str) -> None:
        """Write the compiled program with its metadata."""
        path.write_bytes(program.package)
        with zipfile.ZipFile(path, "a") as archive:
            root = archive.namelist()[0].partition("/")[0]
            archive.writestr(f"{root}/extra/{METADATA_NAME}", metadata)

    def open(self, path: Path) -> Runner:
        """Return a function that runs the file, on the device that it was compiled for."""
        module = torch._inductor.aoti_load_package(str(path))
        device = module.loader.get_metadata()["AOTI_DEVICE_KEY"]

        def run(images: Tensor) -> tuple[Tensor, ...]:
            with torch.no_grad():
                return tuple(output.cpu() for output in module(images.to(device)))

        return run

    def read_metadata(self, path: Path) -> str:
        """Return the metadata of the file."""
        return read_archive_metadata(path)
