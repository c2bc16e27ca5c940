"""TensorRT: an .engine file for the graphics card of this machine, and a .json file with its metadata."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from vitrail.errors import ExportError
from vitrail.export.exporter import NotRunnableError, ReducedPrecision, Runner, register_exporter
from vitrail.export.graph import ExportGraph
from vitrail.export.onnx_format import OnnxExporter, trace_onnx
from vitrail.export.pt2_format import MIN_SIDE

Shape = tuple[int, ...]


class TensorRtProgram:
    """An ONNX model that TensorRT compiles once, when it is first written.

    Parameters
    ----------
    proto : onnx.ModelProto
    shapes : three tuples of int
        The smallest shape of images, the one that the engine is tuned for, and the largest.
    """

    def __init__(self, proto: Any, shapes: tuple[Shape, Shape, Shape]) -> None:
        self.proto = proto
        self.shapes = shapes

    @functools.cached_property
    def engine(self) -> bytes:
        """The compiled program."""
        import tensorrt as trt

        logger = trt.Logger(trt.Logger.ERROR)
        builder = trt.Builder(logger)
        # The types are those of the ONNX model: float16 and int8 are made there.
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, logger)
        if not parser.parse(self.proto.SerializeToString()):
            problems = "; ".join(str(parser.get_error(index).desc()) for index in range(parser.num_errors))
            raise ExportError(f"TensorRT cannot express this model\n{problems[:600]}")
        config = builder.create_builder_config()
        profile = builder.create_optimization_profile()
        profile.set_shape("images", *self.shapes)
        config.add_optimization_profile(profile)
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise ExportError("TensorRT could not build the engine; what it printed says why")
        return bytes(engine)


@register_exporter("tensorrt")
class TensorRtExporter:
    """Exports to TensorRT through ONNX, on a machine that has a GPU of NVIDIA's; the engine runs on this kind only.

    Parameters
    ----------
    max_batch : int
        Largest number of images that go through it together.
    max_side : int
        Largest height and width of images, where the program is for any size.
    """

    suffix: ClassVar[str] = ".engine"
    modules: ClassVar[Mapping[str, str]] = {"tensorrt": "tensorrt", **OnnxExporter.modules}
    runs_code: ClassVar[bool] = True  # machine code
    precisions: ClassVar[tuple[ReducedPrecision, ...]] = ("float16", "int8")

    def __init__(self, *, max_batch: int = 8, max_side: int = 2048) -> None:
        if max_batch < 1 or max_side < MIN_SIDE:
            raise ExportError(f"max_batch must be at least 1 and max_side at least {MIN_SIDE}")
        self.max_batch = max_batch
        self.max_side = max_side

    def trace(self, graph: ExportGraph, example: Tensor, *, any_size: bool) -> TensorRtProgram:
        """Return the program; see `Exporter.trace`."""
        proto = trace_onnx(graph, example, any_size=any_size)
        channels, height, width = example.shape[1:]
        smallest, middle, largest = (
            ((MIN_SIDE, MIN_SIDE), (self.max_side // 2,) * 2, (self.max_side,) * 2)
            if any_size
            else ((height, width),) * 3
        )
        shapes = (
            (1, channels, *smallest),
            (1, channels, *middle),
            (self.max_batch, channels, *largest),
        )
        return TensorRtProgram(proto, shapes)

    def reduce(
        self, program: TensorRtProgram, precision: ReducedPrecision, images: Sequence[Tensor]
    ) -> TensorRtProgram:
        """Return the program in float16, or with convolutions and products in int8, as ONNX has it."""
        return TensorRtProgram(OnnxExporter().reduce(program.proto, precision, images), program.shapes)

    def write(self, program: TensorRtProgram, path: Path, metadata: str) -> None:
        """Compile the program, which takes minutes, and write it and its metadata."""
        path.write_bytes(program.engine)
        _metadata_file(path).write_text(metadata, encoding="utf-8")

    def open(self, path: Path) -> Runner:
        """Return a function that runs the engine on the GPU."""
        import tensorrt as trt

        if not torch.cuda.is_available():
            raise NotRunnableError("TensorRT needs a GPU of NVIDIA's, which PyTorch does not find here")
        runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise ExportError(f"{path} was made for another GPU or another version of TensorRT: export the model again")
        context = engine.create_execution_context()
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        outputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
        types = {name: _torch_type(trt, engine.get_tensor_dtype(name)) for name in outputs}

        def run(images: Tensor) -> tuple[Tensor, ...]:
            given = images.cuda().contiguous()
            context.set_input_shape("images", tuple(given.shape))
            context.set_tensor_address("images", given.data_ptr())
            results = []
            for name in outputs:
                shape = tuple(context.get_tensor_shape(name))
                results.append(torch.empty(shape, dtype=types[name], device=given.device))
                context.set_tensor_address(name, results[-1].data_ptr())
            stream = torch.cuda.current_stream()
            if not context.execute_async_v3(stream.cuda_stream):
                raise ExportError(f"the engine does not take images of {list(given.shape)}: see max_batch and max_side")
            stream.synchronize()
            return tuple(result.cpu() for result in results)

        return run

    def read_metadata(self, path: Path) -> str:
        """Return the metadata beside the engine."""
        return _metadata_file(path).read_text(encoding="utf-8")


def _metadata_file(path: Path) -> Path:
    return path.with_suffix(".engine.json")


def _torch_type(trt: Any, type: Any) -> torch.dtype:
    return {trt.uint8: torch.uint8, trt.int32: torch.int32, trt.float32: torch.float32}[type]
