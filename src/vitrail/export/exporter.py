"""Export formats: the contract of an exporter, and the registry that plugins add theirs to."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar

from torch import Tensor

from vitrail.checkpoints.exported import formats_of
from vitrail.errors import ExportError
from vitrail.export.graph import ExportGraph
from vitrail.registry import Registry

Runner = Callable[[Tensor], tuple[Tensor, ...]]
ReducedPrecision: TypeAlias = Literal["bfloat16", "float16", "int8"]


class NotRunnableError(ExportError):
    """A file that was written, of a format that does not run on this machine."""


class Exporter(Protocol):
    """Writes an `ExportGraph` to one kind of file, and runs such a file.

    The keyword-only arguments of its constructor, such as `opset`, can be set by the user by name.

    Attributes
    ----------
    suffix : str
        End of the file names, such as ".onnx".
    modules : mapping from str to str
        Modules that it imports, each with the PyPI package that has it; checked before any work is done.
    runs_code : bool
        Whether loading a file can run code that somebody put into it; such files are loaded as models only when the
        user trusts them.
    precisions : tuple of str
        What `reduce` can make of a program; empty for a format that is written in float32 only.
    """

    suffix: ClassVar[str]
    modules: ClassVar[Mapping[str, str]]
    runs_code: ClassVar[bool]
    precisions: ClassVar[tuple[ReducedPrecision, ...]]

    def trace(self, graph: ExportGraph, example: Tensor, *, any_size: bool) -> Any:
        """Return the program of the graph, in whatever form `write` takes.

        Parameters
        ----------
        graph : ExportGraph
            On the CPU, in evaluation mode.
        example : Tensor [2, 3, H, W]
            Images, uint8. The number of images is variable in the program.
        any_size : bool
            Whether H and W are variable too.

        Raises
        ------
        ExportError
            When the graph cannot be expressed in this format.
        """
        ...

    def reduce(self, program: Any, precision: ReducedPrecision, images: Sequence[Tensor]) -> Any:
        """Return the program in a lower precision, one of `precisions`.

        Parameters
        ----------
        program
            What `trace` returned.
        precision : {"bfloat16", "float16", "int8"}
            The precision.
        images : sequence of Tensor [1, 3, H, W]
            Images, uint8, from whose activations the ranges of int8 are measured; empty for the others.

        Raises
        ------
        ExportError
            When the program cannot be expressed in it.
        """
        ...

    def write(self, program: Any, path: Path, metadata: str) -> None:
        """Write the program to a file, with a JSON text as metadata. Other files may be written into its folder."""
        ...

    def open(self, path: Path) -> Runner:
        """Return a function from images, uint8 [B, 3, H, W], to the outputs of the file's program, all on the CPU.

        Raises
        ------
        NotRunnableError
            When such files do not run on this machine.
        """
        ...

    def read_metadata(self, path: Path) -> str:
        """Return the JSON text that `write` put into the file."""
        ...


EXPORTERS: Registry[type[Exporter]] = Registry("export format", ExportError, "vitrail.export")
ExporterType = TypeVar("ExporterType", bound=type[Exporter])


def register_exporter(name: str) -> Callable[[ExporterType], ExporterType]:
    """Register an `Exporter` class under `name`, the value of `format` and `--format`."""
    return EXPORTERS.register(name)


def require_modules(modules: Mapping[str, str], what: str) -> None:
    """Raise an ExportError unless all modules are installed; `modules` maps each to its package on PyPI."""
    missing = [package for module, package in modules.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ExportError(f"{what} needs {', '.join(missing)}: pip install {' '.join(missing)}")


def find_format(path: Path, format: str | None) -> str:
    """Return the name of the format: the given one, or the only one with the longest suffix that the path has.

    Raises
    ------
    ExportError
        When no format or several formats have the suffix.
    """
    if format is not None:
        EXPORTERS[format]  # raises for an unknown name
        return format
    names = formats_of(path)
    if len(names) == 1:
        return names[0]
    known = ", ".join(f"{name} ({exporter.suffix})" for name, exporter in EXPORTERS.items())
    problem = f"{'several formats write' if names else 'no format writes'} {path.suffix or 'such'} files"
    raise ExportError(f"{path}: {problem}; name one by format=… (--format on the command line): {known}")
