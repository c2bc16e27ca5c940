"""Core ML: an .mlpackage for Apple's systems."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.export import ExportedProgram

from vitrail.errors import ExportError
from vitrail.export.exporter import NotRunnableError, ReducedPrecision, Runner, register_exporter
from vitrail.export.graph import ExportGraph
from vitrail.export.operations import DEVICES, ReplacingGraph
from vitrail.export.pt2_format import first_lines
from vitrail.export.quiet import quiet

_KEY = "vitrail"
_quiet = functools.partial(quiet, "coremltools", level=logging.CRITICAL)  # its versions, progress bars and warnings


@dataclass(frozen=True)
class CoreMlProgram:
    """A program for Core ML.

    Attributes
    ----------
    source : ExportedProgram
        What it was converted from.
    names : tuple of str
        The names of what it returns.
    model : coremltools.models.MLModel
    """

    source: ExportedProgram
    names: tuple[str, ...]
    model: Any


@register_exporter("coreml")
class CoreMlExporter:
    """Exports to Core ML, for one size of RGB images, one image at a time; class indices are int32.

    It converts on every system, and runs on macOS, where alone the file can be checked.
    """

    suffix: ClassVar[str] = ".mlpackage"
    modules: ClassVar[Mapping[str, str]] = {"coremltools": "coremltools"}
    runs_code: ClassVar[bool] = False
    precisions: ClassVar[tuple[ReducedPrecision, ...]] = ("float16",)

    def trace(self, graph: ExportGraph, example: Tensor, *, any_size: bool) -> CoreMlProgram:
        """Return the program; see `Exporter.trace`."""
        if any_size:
            raise ExportError("Core ML's processors want programs for one size of images, so it must be given.")
        if example.shape[1] != 3:
            raise ExportError(f"Core ML takes RGB images, not images of {example.shape[1]} channels")
        try:
            with torch.no_grad():
                replacing = ReplacingGraph(_CoreMlGraph(graph), DEVICES)
                program = torch.export.export(replacing, (example[:1].float(),), strict=False)
                program = _without_aliases(program.run_decompositions({}))
        except Exception as error:  # torch raises many kinds
            raise ExportError(f"torch.export cannot express this model:\n{first_lines(error)}") from error
        return CoreMlProgram(program, graph.returned.names, _convert(program, graph.returned.names, "float32"))

    def reduce(self, program: CoreMlProgram, precision: ReducedPrecision, images: Sequence[Tensor]) -> CoreMlProgram:
        """Return the program with all values in float16."""
        return CoreMlProgram(program.source, program.names, _convert(program.source, program.names, "float16"))

    def write(self, program: CoreMlProgram, path: Path, metadata: str) -> None:
        """Write the package with its metadata."""
        program.model.user_defined_metadata[_KEY] = metadata
        with _quiet():
            program.model.save(str(path))

    def open(self, path: Path) -> Runner:
        """Return a function that runs the package, image by image; on macOS only."""
        if sys.platform != "darwin":
            raise NotRunnableError("Core ML runs on macOS only")
        with _quiet():
            import coremltools

            model = coremltools.models.MLModel(str(path))
        names = [output.name for output in model.get_spec().description.output]

        def run(images: Tensor) -> tuple[Tensor, ...]:
            pictures = (Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images)
            each = [model.predict({"images": picture}) for picture in pictures]
            return tuple(torch.from_numpy(np.concatenate([outputs[name] for outputs in each])) for name in names)

        return run

    def read_metadata(self, path: Path) -> str:
        """Return the metadata of the package."""
        with _quiet():
            import coremltools

            return str(coremltools.utils.load_spec(str(path)).description.metadata.userDefined[_KEY])


class _CoreMlGraph(nn.Module):
    """A graph that takes float32 and gives class indices as int32: Core ML has no uint8 there."""

    def __init__(self, graph: ExportGraph) -> None:
        super().__init__()
        self.wrapped = graph

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = self.wrapped(images)
        return outputs if self.wrapped.output == "raw" else (outputs[0].to(torch.int32), *outputs[1:])


def _without_aliases(program: ExportedProgram) -> ExportedProgram:
    """Return the program without operations that give their input another name, which coremltools does not know."""
    for node in program.graph.find_nodes(op="call_function", target=torch.ops.aten.alias.default):
        node.replace_all_uses_with(node.args[0])
        program.graph.erase_node(node)
    program.graph_module.recompile()
    return program


def _convert(program: ExportedProgram, names: Sequence[str], precision: Literal["float32", "float16"]) -> Any:
    """Return the `MLModel` of a program of one image."""
    (shape,) = (
        tuple(node.meta["val"].shape)
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    )
    with _quiet():
        import coremltools as ct

        try:
            return ct.convert(
                program,
                inputs=[ct.ImageType(name="images", shape=shape, color_layout=ct.colorlayout.RGB)],
                outputs=[ct.TensorType(name=name) for name in names],
                minimum_deployment_target=ct.target.iOS16,
                compute_precision=getattr(ct.precision, precision.upper()),
                skip_model_load=True,
            )
        except Exception as error:  # coremltools raises many kinds
            raise ExportError(f"Core ML cannot express this model:\n{first_lines(error)}") from error
