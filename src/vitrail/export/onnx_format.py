"""ONNX: a .onnx file for ONNX Runtime, TensorRT, OpenVINO and others."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from vitrail.errors import ExportError
from vitrail.export.exporter import ReducedPrecision, Runner, register_exporter
from vitrail.export.graph import ExportGraph
from vitrail.export.operations import ONNX, ONNX_RUNTIME, Replacements, ReplacingGraph
from vitrail.export.pt2_format import trace_program
from vitrail.export.quiet import quiet
from vitrail.files.regular import check_regular

MIN_OPSET = 18
_KEY = "vitrail"
_MAX_BYTES = 2**31 - 1  # a limit of protocol buffers
_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir", "")  # ONNX Runtime's tools write to the root


@register_exporter("onnx")
class OnnxExporter:
    """Exports to ONNX through `torch.export`.

    Parameters
    ----------
    opset : int
        Version of the operator set, 18 or later.
    """

    suffix: ClassVar[str] = ".onnx"
    modules: ClassVar[Mapping[str, str]] = {"onnx": "onnx", "onnxscript": "onnxscript", "onnxruntime": "onnxruntime"}
    runs_code: ClassVar[bool] = False
    precisions: ClassVar[tuple[ReducedPrecision, ...]] = ("float16", "int8")

    def __init__(self, *, opset: int = MIN_OPSET) -> None:
        if opset < MIN_OPSET:
            raise ExportError(f"opset must be at least {MIN_OPSET}, not {opset}")
        self.opset = opset

    def trace(self, graph: ExportGraph, example: Tensor, *, any_size: bool) -> Any:
        """Return the model as `onnx.ModelProto`, of operations that ONNX Runtime is fast at; see `Exporter.trace`."""
        return trace_onnx(graph, example, ONNX_RUNTIME, any_size=any_size, opset=self.opset)

    def reduce(self, program: Any, precision: ReducedPrecision, images: Sequence[Tensor]) -> Any:
        """Return the model in float16, or with convolutions and products in int8 (a range for each output channel)."""
        try:
            with quiet(*_LOGGERS):
                return _in_float16(program) if precision == "float16" else _in_int8(program, images)
        except Exception as error:  # of ONNX Runtime's tools
            raise ExportError(f"ONNX Runtime cannot express this model in {precision}\n{str(error)[:600]}") from error

    def write(self, program: Any, path: Path, metadata: str) -> None:
        """Write the model with its metadata, in one file."""
        del program.metadata_props[:]
        entry = program.metadata_props.add()
        entry.key, entry.value = _KEY, metadata
        if program.ByteSize() > _MAX_BYTES:
            raise ExportError("the model is larger than 2 GB, which one ONNX file cannot hold: export it as .pt2")
        path.write_bytes(program.SerializeToString())

    def open(self, path: Path) -> Runner:
        """Return a function that runs the file with ONNX Runtime."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        _load(path)  # refuses files that name other files
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        def run(images: Tensor) -> tuple[Tensor, ...]:
            return tuple(torch.from_numpy(each) for each in session.run(None, {"images": images.numpy()}))

        return run

    def read_metadata(self, path: Path) -> str:
        """Return the metadata of the file."""
        entries = {entry.key: entry.value for entry in _load(path).metadata_props}
        return str(entries[_KEY])


def trace_onnx(
    graph: ExportGraph,
    example: Tensor,
    replacements: Replacements = ONNX,
    *,
    any_size: bool,
    opset: int = MIN_OPSET,
) -> Any:
    """Return a graph as `onnx.ModelProto`; see `Exporter.trace`.

    Parameters
    ----------
    replacements : tuple of types of Replacement
        Which operations are replaced: by default those that ONNX cannot express.
    opset : int
        Version of the operator set.
    """
    program = trace_program(ReplacingGraph(graph, replacements), example, any_size=any_size)
    keep_small_addends(program)
    try:
        with quiet(*_LOGGERS):
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=opset,
                input_names=["images"],
                output_names=list(graph.returned.names),
                verbose=False,
            )
    except Exception as error:  # torch raises many kinds
        raise ExportError(f"torch.onnx cannot express this model\n{_reason(error)}") from error
    assert exported is not None  # with dynamo=True
    proto = exported.model_proto
    (written,) = (each.version for each in proto.opset_import if not each.domain)
    if written != opset:
        raise ExportError(f"torch {torch.__version__} writes opset {written} in place of {opset}: ask for another one")
    _name_dimensions(proto, ("batch", "3", "height", "width"))
    return proto


def _load(path: Path) -> Any:
    """Return the `onnx.ModelProto` in a file.

    Raises
    ------
    ExportError
        When the file takes weights from other files.
    """
    import onnx
    from onnx.external_data_helper import uses_external_data

    check_regular(path, ExportError)
    proto = onnx.load(str(path), load_external_data=False)
    if any(uses_external_data(tensor) for tensor in _tensors(proto)):
        raise ExportError(f"{path} takes weights from other files, which is not followed: write it as one file")
    return proto


def _tensors(message: Any) -> Iterator[Any]:
    """Yield every tensor in a message: initial values, sparse ones, those in attributes, subgraphs and functions."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if isinstance(value, Iterable) else (value,):
                yield from _tensors(part)


def _reason(error: BaseException) -> str:
    """Return the node that torch.onnx fails at, and why; what it says first is advice for those who mend PyTorch."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    lines = dict.fromkeys(f"{type(each).__name__}: {str(each)[:400]}" for each in (chain[1:2] or chain) + chain[-1:])
    return "\n".join(lines)


def _in_float16(proto: Any) -> Any:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(proto, keep_io_types=True)


def _in_int8(proto: Any, images: Sequence[Tensor]) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Images(CalibrationDataReader):  # type: ignore[misc] # untyped
        def __init__(self) -> None:
            self.left: Iterator[Tensor] = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.left, None)
            return None if image is None else {"images": image.numpy()}

    with tempfile.TemporaryDirectory() as folder:
        full, folded, reduced = (Path(folder, name) for name in ("full.onnx", "folded.onnx", "reduced.onnx"))
        full.write_bytes(proto.SerializeToString())
        _fold_constants(full, folded)
        quantize_static(
            str(folded),
            str(reduced),
            Images(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            nodes_to_exclude=_products_of_maps(onnx.load(str(folded))),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(str(reduced))


def _fold_constants(path: Path, folded: Path) -> None:
    """Write a model with what its weights alone decide computed, such as the slices of a layer's weight."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    proto = onnx.load(str(folded))
    domains = {node.domain for node in proto.graph.node}
    needed = [each for each in proto.opset_import if each.domain in domains]  # it lists all that ONNX Runtime has
    del proto.opset_import[:]
    proto.opset_import.extend(needed)
    onnx.save(proto, str(folded))


def _products_of_maps(proto: Any) -> list[str]:
    """Return the names of the matrix products without weights: of attention, pooling and resizing.

    ONNX Runtime is slow at the softmax between such products in 8 bits, and an average in 8 bits is not one.
    """
    weights = {tensor.name for tensor in proto.graph.initializer}
    products = (node for node in proto.graph.node if node.op_type == "MatMul")
    return [node.name for node in products if weights.isdisjoint(node.input)]


def _name_dimensions(proto: Any, names: tuple[str, ...]) -> None:
    """Give the variable dimensions of the input their names, everywhere in the model: torch calls them s34, s12…"""
    dimensions = proto.graph.input[0].type.tensor_type.shape.dim
    renamed = {dim.dim_param: name for dim, name in zip(dimensions, names, strict=True) if dim.dim_param}
    if not renamed:
        return
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, renamed))})\b")
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = pattern.sub(lambda match: renamed[match.group()], dim.dim_param)


def keep_small_addends(program: torch.export.ExportedProgram) -> None:
    """Write numbers below 1e-6 that are added to a tensor, or subtracted from it, as tensors of one element.

    onnxscript's rewriting takes a small enough number for 0 and drops the sum, which may keep a divisor from being
    0: the linear attention of EfficientViT adds 1e-15.
    """
    for part in program.graph_module.modules():  # one for each region of autocast
        if not isinstance(part, torch.fx.GraphModule):
            continue
        sums = (
            node
            for target in (torch.ops.aten.add.Tensor, torch.ops.aten.sub.Tensor)
            for node in part.graph.find_nodes(op="call_function", target=target)
        )
        for node in sums:
            addend = node.args[1]
            if isinstance(addend, float) and 0 < abs(addend) < 1e-6:
                with part.graph.inserting_before(node):
                    tensor = part.graph.call_function(torch.ops.aten.full.default, ([1], addend))
                tensor.meta["val"] = node.args[0].meta["val"].new_full((1,), addend)
                node.update_arg(1, tensor)
        part.recompile()
