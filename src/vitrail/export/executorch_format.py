"""ExecuTorch: a .pte file for telephones and small devices, whose operations XNNPACK computes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.export import ExportedProgram

from vitrail.errors import ExportError
from vitrail.export.exporter import ReducedPrecision, Runner, register_exporter
from vitrail.export.graph import ExportGraph
from vitrail.export.operations import DEVICES, ReplacingGraph
from vitrail.export.pt2_format import first_lines
from vitrail.export.quiet import quiet

_METADATA = "vitrail"  # a method of the program that returns a text


@register_exporter("executorch")
class ExecuTorchExporter:
    """Exports to ExecuTorch with XNNPACK, for one size of images, one image at a time.

    The runtime reserves memory for the largest image that a program takes, so the size has to be known.
    """

    suffix: ClassVar[str] = ".pte"
    modules: ClassVar[Mapping[str, str]] = {"executorch": "executorch"}
    runs_code: ClassVar[bool] = False
    precisions: ClassVar[tuple[ReducedPrecision, ...]] = ()

    def trace(self, graph: ExportGraph, example: Tensor, *, any_size: bool) -> Any:
        """Return the program for one image, an `ExportedProgram` with XNNPACK's operations; see `Exporter.trace`."""
        if any_size:
            raise ExportError("ExecuTorch reserves memory for the largest image, so the size of images must be given.")
        try:
            with quiet(""), torch.no_grad():
                from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
                from executorch.exir import to_edge_transform_and_lower

                program = torch.export.export(ReplacingGraph(graph, DEVICES), (example[:1],), strict=False)
                program = _fold_constants(program)
                return to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).exported_program()
        except Exception as error:  # torch and ExecuTorch raise many kinds
            raise ExportError(f"ExecuTorch cannot express this model:\n{first_lines(error)}") from error

    def reduce(self, program: Any, precision: ReducedPrecision, images: Sequence[Tensor]) -> Any:
        """Raise an ExportError: these files hold float32."""
        raise ExportError(f"a .pte file cannot be written in {precision}")

    def write(self, program: Any, path: Path, metadata: str) -> None:
        """Write the program, with a method that returns the metadata."""
        with quiet(""):
            from executorch.exir import EdgeProgramManager

            try:
                own = copy.deepcopy(program)  # making a file of it changes it
                path.write_bytes(EdgeProgramManager(own, {_METADATA: metadata}).to_executorch().buffer)
            except Exception as error:  # ExecuTorch raises many kinds
                raise ExportError(f"ExecuTorch cannot write this model:\n{first_lines(error)}") from error

    def open(self, path: Path) -> Runner:
        """Return a function that runs the file, image by image."""
        method = _load(path).load_method("forward")

        def run(images: Tensor) -> tuple[Tensor, ...]:
            # What a method returns is overwritten when it runs again.
            each = [[output.clone() for output in method.execute([image])] for image in images.split(1)]
            return tuple(torch.cat(outputs) for outputs in zip(*each, strict=True))

        return run

    def read_metadata(self, path: Path) -> str:
        """Return the metadata of the file."""
        (text,) = _load(path).load_method(_METADATA).execute(())
        return str(text)


def _fold_constants(program: ExportedProgram) -> ExportedProgram:
    """Return the program with what depends on weights alone computed.

    XNNPACK takes convolutions and products only where their weights are constants. Without this, those whose weights
    are added up or divided in the forward pass are left to ExecuTorch's portable operations (SegFormer: 30 times
    slower).
    """
    from executorch.exir.passes.constant_prop_pass import constant_prop_pass

    folded: ExportedProgram = constant_prop_pass(program)
    for name, value in folded.constants.items():
        if isinstance(value, Tensor):  # views of a larger tensor, or transposed ones, are written as what they view
            folded.constants[name] = value.detach().clone(memory_format=torch.contiguous_format)
    return folded


def _load(path: Path) -> Any:
    with quiet(""):
        from executorch.runtime import Runtime, Verification

        return Runtime.get().load_program(path, verification=Verification.InternalConsistency)
