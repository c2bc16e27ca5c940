"""AOTInductor: a program that torch compiles ahead of time, in an .aoti.pt2 file for machines like this one."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.export import ExportedProgram

from vitrail.errors import ExportError
from vitrail.export.exporter import Runner, register_exporter
from vitrail.export.pt2_format import METADATA_NAME, TorchExporter


@register_exporter("aoti")
class InductorExporter(TorchExporter):
    """Exports with AOTInductor; `torch._inductor.aoti_load_package(path)` runs the file.

    It holds machine code for the CPU of this machine, so it is compiled where it will run, or where the processor has
    the same instructions. A C++ compiler is needed for writing only.
    """

    suffix: ClassVar[str] = ".aoti.pt2"
    modules: ClassVar[Mapping[str, str]] = {}
    runs_code: ClassVar[bool] = True  # machine code

    def write(self, program: ExportedProgram, path: Path, metadata: str) -> None:
        """Compile the program and write it with its metadata."""
        if shutil.which("g++") is None and shutil.which("clang++") is None:
            raise ExportError("AOTInductor needs a C++ compiler (g++ or clang++), and none is installed")
        try:
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))
        except Exception as error:  # torch raises many kinds
            raise ExportError(f"AOTInductor cannot compile this model:\n{str(error)[:600]}") from error
        with zipfile.ZipFile(path, "a") as archive:
            root = archive.namelist()[0].partition("/")[0]
            archive.writestr(f"{root}/extra/{METADATA_NAME}", metadata)

    def open(self, path: Path) -> Runner:
        """Return a function that runs the file."""
        module = torch._inductor.aoti_load_package(str(path))

        def run(images: Tensor) -> tuple[Tensor, ...]:
            with torch.no_grad():
                return tuple(module(images))

        return run
