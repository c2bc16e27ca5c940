"""OpenVINO: an .xml file with the network and a .bin file with its weights, for processors and graphics of Intel's."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from vitrail.errors import ExportError
from vitrail.export.exporter import ReducedPrecision, Runner, register_exporter, require_modules
from vitrail.export.graph import ExportGraph
from vitrail.export.onnx_format import OnnxExporter, trace_onnx

_KEY = "vitrail"
_WEIGHTS_KEY = "vitrail_weights"


@dataclass(frozen=True)
class OpenVinoProgram:
    """A program for OpenVINO.

    Attributes
    ----------
    model : openvino.Model
    half : bool
        Write the weights in float16.
    """

    model: Any
    half: bool = False


@register_exporter("openvino")
class OpenVinoExporter:
    """Exports to OpenVINO through ONNX. The .bin file stands beside the .xml file and belongs to it."""

    suffix: ClassVar[str] = ".xml"
    modules: ClassVar[Mapping[str, str]] = {"openvino": "openvino"}
    runs_code: ClassVar[bool] = False
    precisions: ClassVar[tuple[ReducedPrecision, ...]] = ("float16", "int8")

    def trace(self, graph: ExportGraph, example: Tensor, *, any_size: bool) -> OpenVinoProgram:
        """Return the program; see `Exporter.trace`."""
        require_modules(OnnxExporter.modules, "format 'openvino'")
        proto = trace_onnx(graph, example, any_size=any_size)
        try:
            return OpenVinoProgram(_core().read_model(proto.SerializeToString()))
        except Exception as error:  # of OpenVINO's
            raise ExportError(f"OpenVINO cannot express this model\n{str(error)[:600]}") from error

    def reduce(
        self, program: OpenVinoProgram, precision: ReducedPrecision, images: Sequence[Tensor]
    ) -> OpenVinoProgram:
        """Return the program with weights in float16, or with convolutions and products in int8 (NNCF)."""
        if precision == "float16":
            return OpenVinoProgram(program.model, half=True)
        require_modules({"nncf": "nncf"}, "int8 of format 'openvino'")
        with _no_telemetry():
            import nncf

            dataset = nncf.Dataset(list(images), lambda image: {"images": image.numpy()})
            return OpenVinoProgram(
                nncf.quantize(program.model, dataset, subset_size=len(images), preset=nncf.QuantizationPreset.MIXED)
            )

    def write(self, program: OpenVinoProgram, path: Path, metadata: str) -> None:
        """Write both files; the first holds the metadata and the digest of the second."""
        import openvino

        model = program.model
        model.set_rt_info(metadata, [_KEY])
        model.set_rt_info("", [_WEIGHTS_KEY])
        openvino.save_model(model, str(path), compress_to_fp16=program.half)
        model.set_rt_info(_digest(_weights(path)), [_WEIGHTS_KEY])
        openvino.save_model(model, str(path), compress_to_fp16=program.half)

    def open(self, path: Path) -> Runner:
        """Return a function that runs the files on the CPU."""
        model = _read(path)
        if model.get_rt_info([_WEIGHTS_KEY]).value != _digest(_weights(path)):
            raise ExportError(f"{_weights(path)} does not belong to {path}: export the model again")
        # The processor would compute in bfloat16 where it can, which is another function.
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        compiled = _core().compile_model(model, "CPU", settings)

        def run(images: Tensor) -> tuple[Tensor, ...]:
            results = compiled([images.contiguous().numpy()])
            return tuple(torch.from_numpy(results[index].copy()) for index in range(len(compiled.outputs)))

        return run

    def read_metadata(self, path: Path) -> str:
        """Return the metadata in the .xml file."""
        return str(_read(path).get_rt_info([_KEY]).value)


@functools.cache
def _core() -> Any:
    """Return OpenVINO's entry point, one for the life of the process.

    Its plugin for processors gives the calling thread a stack for signals of its own. When one of several plugins ends,
    that of another, which may be gone, is put back, and the next signal that Python handles ends the process.
    """
    import openvino

    core = openvino.Core()
    core.get_property("CPU", "FULL_DEVICE_NAME")  # loads the plugin, before others such as NNCF load theirs
    return core


def _read(path: Path) -> Any:
    if not _weights(path).is_file():
        raise ExportError(f"{_weights(path)} is missing: OpenVINO's models have two files")
    return _core().read_model(model=str(path), weights=str(_weights(path)))


def _weights(path: Path) -> Path:
    return path.with_suffix(".bin")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def _no_telemetry() -> Iterator[None]:
    """Keep NNCF from sending statistics of its use, which it decides when it is imported."""
    name, before = "NNCF_CI", os.environ.get("NNCF_CI")
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
