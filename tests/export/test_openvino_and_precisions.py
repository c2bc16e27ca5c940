"""OpenVINO, AOTInductor, float16 and int8: files that agree as far as their precision allows, or are not kept."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.evaluation_models import Linear, small_model
from helpers.processes import execute, in_own_process
from helpers.small import small
from torch import Tensor, nn
from torch.nn import functional as F

import vitrail
from vitrail import ModelCard, create_model
from vitrail.cli import cli
from vitrail.errors import CheckpointError, ExportError
from vitrail.export import export_model, read_export_metadata
from vitrail.export.check import Agreement, ExportCheck, ImagesCheck, street_images
from vitrail.export.graph import ExportGraph
from vitrail.export.onnx_format import OnnxExporter
from vitrail.inference import Predictor
from vitrail.layers import resize
from vitrail.segmentors import Segmentor
from vitrail.transforms import Normalize

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnxruntime", "openvino", "nncf")),
    reason="needs the [openvino] extra",
)
PICTURES = list(street_images((3, 96, 128)))


@pytest.fixture(scope="module")
def model() -> Segmentor:
    torch.manual_seed(1)
    return small_model(3, 4)


@pytest.fixture(scope="module")
def openvino_file(model: Segmentor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openvino") / "model.xml"
    export_model(model, path, raw=True)
    return path


def copied(path: Path, folder: Path) -> Path:
    for suffix in (".xml", ".bin"):
        shutil.copy(path.with_suffix(suffix), folder)
    return folder / path.name


def test_an_openvino_file_runs_without_vitrail_and_is_a_model_again(model: Segmentor, openvino_file: Path) -> None:
    import openvino

    images = street_images((2, 70, 101))
    expected = Predictor(model, device="cpu").scores(list(images))
    compiled = openvino.Core().compile_model(str(openvino_file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (values,) = compiled([images.numpy()]).values()
    np.testing.assert_allclose(values, torch.stack(expected).numpy(), atol=1e-4)
    loaded = Predictor(vitrail.load(openvino_file), device="cpu")
    torch.testing.assert_close(loaded.scores(list(images)), expected, atol=1e-4, rtol=0)
    assert read_export_metadata(openvino_file)["check"]["passed"]


def test_the_two_files_belong_together(openvino_file: Path, tmp_path: Path) -> None:
    path = copied(openvino_file, tmp_path)
    content = bytearray(path.with_suffix(".bin").read_bytes())
    content[-1] ^= 1
    path.with_suffix(".bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.bin does not belong to .*model\.xml: export the model again"):
        vitrail.load(path)
    path.with_suffix(".bin").unlink()
    with pytest.raises(CheckpointError, match=r"model\.bin is missing"):
        vitrail.load(path)


HANDLES_SIGNALS = """
import signal, subprocess, sys
import vitrail.export
handled = []
images = vitrail.export.check.street_images((1, 96, 128))
first = vitrail.load(sys.argv[1])
second = vitrail.load(sys.argv[1])
first.run(images), second.run(images)
del first
second.run(images)
del second
signal.signal(signal.SIGCHLD, lambda number, _: handled.append(number))
subprocess.run([sys.executable, "-c", ""], check=True)
print(len(handled))
"""


def test_signals_are_handled_after_models_were_loaded_and_released(openvino_file: Path) -> None:
    done = in_own_process(execute, HANDLES_SIGNALS, str(openvino_file))
    assert done.stdout == "1\n", done.stderr


def test_a_bin_file_of_another_origin_is_not_replaced(model: Segmentor, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"precious")
    with pytest.raises(ExportError, match="would replace a file of another origin"):
        export_model(model, tmp_path / "model.xml")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"model.bin": b"precious"}


def test_an_export_that_is_repeated_replaces_both_files(model: Segmentor, openvino_file: Path, tmp_path: Path) -> None:
    path = copied(openvino_file, tmp_path)
    export_model(model, path, precision="float16", overwrite=True)
    assert {file.name for file in tmp_path.iterdir()} == {"model.xml", "model.bin"}
    assert path.with_suffix(".bin").stat().st_size < openvino_file.with_suffix(".bin").stat().st_size
    assert read_export_metadata(path)["precision"] == "float16"
    vitrail.load(path)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_a_lower_precision_is_compared_on_the_images_of_the_user(
    model: Segmentor, tmp_path: Path, suffix: str, precision: str
) -> None:
    path = tmp_path / f"model{suffix}"
    exported = export_model(model, path, precision=precision, images=PICTURES, scores=True, force=True)
    own = exported.check.images
    assert own is not None and own.count == 3
    predictor, reduced = Predictor(model, device="cpu"), Predictor(vitrail.load(path), device="cpu")
    pairs = list(zip(predictor.segment(PICTURES), reduced.segment(PICTURES), strict=True))
    equal = np.mean([(a == b).float().mean() for a, b in pairs])
    assert own.equal == pytest.approx(equal, abs=1e-3)
    if precision == "float16":
        assert exported.check.passed and own.equal > 0.99
    else:
        assert own.equal > 0.5 and exported.check.agreements[0].difference > 1e-3  # values were rounded
    assert read_export_metadata(path)["check"]["images"]["count"] == 3


@pytest.mark.slow
def test_int8_of_a_transformer_has_weights_of_8_bits_and_attention_of_floats() -> None:
    torch.manual_seed(0)
    model = small("segformer").eval()
    exported = ExportGraph(model, Normalize((120.0, 120.0, 120.0), (60.0, 60.0, 60.0)), "raw")
    exporter = OnnxExporter()
    program = exporter.trace(exported, torch.stack(PICTURES[:2]), any_size=False)
    proto = exporter.reduce(program, "int8", [image[None] for image in PICTURES])
    assert [each.domain for each in proto.opset_import] == [""]  # operations of ONNX alone, which every runtime has
    graph = proto.graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    layers = [node for node in graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    reduced = [{made_by.get(name) == "DequantizeLinear" for name in node.input[:2]} for node in layers]
    linear = sum(isinstance(each, nn.Conv2d | nn.Linear) for each in model.modules())
    assert all(len(each) == 1 for each in reduced)  # both of a layer's inputs, or none
    assert reduced.count({True}) >= linear  # the keys and values of MiT are two products with parts of one weight
    assert not [node.name for node in layers if weights.keys() & set(node.input[:2])]  # a weight in float32
    assert {made_by[node.input[0]] for node in graph.node if node.op_type == "Softmax"}.isdisjoint({"DequantizeLinear"})


def test_masks_that_differ_too_much_are_an_error(model: Segmentor, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("vitrail.export.check.MIN_EQUAL_INT8", 1.01)
    with pytest.raises(ExportError, match=r"(?s)not kept.*3 images: .* mIoU.*101.0% of the pixels of the given images"):
        export_model(model, tmp_path / "m.xml", precision="int8", images=PICTURES)
    assert not list(tmp_path.iterdir())


def test_the_miou_of_a_file_is_that_of_its_masks_against_the_models() -> None:
    check = ExportCheck((Agreement((1, 2, 2), 0.5, 0.5),), images=ImagesCheck(1, 0.75, 0.5, 0.9))
    assert not check.passed and "75.0000% of pixels equal, mIoU 50.00" in str(check)


def test_what_a_format_cannot_do_is_an_error(model: Segmentor, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="'pt2' cannot be written in 'int8'; it can in float32, bfloat16, float16"):
        export_model(model, tmp_path / "m.pt2", precision="int8", images=PICTURES)
    with pytest.raises(ExportError, match="int8 needs images"):
        export_model(model, tmp_path / "m.onnx", precision="int8")


def test_two_precisions_at_once_are_an_error() -> None:
    result = CliRunner().invoke(cli, ["export", "fastscnn_camvid", "m.xml", "--half", "--int8"])
    assert "--half, --bfloat16 and --int8 exclude each other" in str(result.exception)


@pytest.mark.parametrize(("precision", "rounding"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_a_pt2_file_computes_in_half_precision(
    model: Segmentor, tmp_path: Path, precision: str, rounding: float
) -> None:
    path = tmp_path / "model.pt2"
    check = export_model(model, path, precision=precision, raw=True).check
    assert check.passed and all(rounding / 10 < each.difference < 20 * rounding for each in check.agreements)
    program = torch.export.load(path)
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    convolutions = [node for node in calls if "conv" in str(node.target)]
    assert {node.meta["val"].dtype for node in convolutions} == {getattr(torch, precision)}
    assert not any("autocast" in str(node.target) for node in calls)  # which is of one type of device
    assert program.module()(torch.zeros(1, 3, 96, 80, dtype=torch.uint8))[0].dtype == torch.float32
    assert read_export_metadata(path)["precision"] == precision
    loaded = Predictor(vitrail.load(path, trust_imports=True), device="cpu")
    expected = Predictor(model, device="cpu")
    for found, wanted in zip(loaded.segment(PICTURES), expected.segment(PICTURES), strict=True):
        assert (found == wanted).float().mean() > 0.95


@pytest.mark.nightly
@pytest.mark.parametrize("method", ["ddrnet", "pidnet"])
def test_half_precision_takes_a_single_image_too(tmp_path: Path, method: str) -> None:
    model = create_model(method, num_classes=3).eval()
    model.card = ModelCard(("a", "b", "c"), ((0, 0, 0),) * 3)
    check = export_model(model, tmp_path / "m.pt2", precision="bfloat16", raw=True, force=True).check
    assert {1, 3} <= {each.shape[0] for each in check.agreements}


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_program_compiled_ahead_of_time_in_bfloat16(model: Segmentor, tmp_path: Path) -> None:
    check = export_model(model, tmp_path / "m.aoti.pt2", size=(96, 128), raw=True, precision="bfloat16").check
    assert check.passed and check.agreements[0].difference > 2**-12  # values were rounded


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_program_compiled_ahead_of_time_is_a_model_again(model: Segmentor, tmp_path: Path) -> None:
    path = tmp_path / "model.aoti.pt2"
    exported = export_model(model, path, size=(96, 128), raw=True)
    assert exported.format == "aoti" and exported.check.passed
    with pytest.raises(CheckpointError, match="can run code"):
        vitrail.load(path)
    loaded = Predictor(vitrail.load(path, trust_imports=True), device="cpu")
    torch.testing.assert_close(
        loaded.scores(PICTURES), Predictor(model, device="cpu").scores(PICTURES), atol=1e-4, rtol=0
    )


class Pooled(Linear):
    """Adds two coarser maps: pooled with a rest at odd sizes, and pooled to one position at small sizes."""

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x = super().forward(features)
        coarse = (F.avg_pool2d(x, 2, ceil_mode=True), F.avg_pool2d(x, 65, 160, 32))
        return x + sum(resize(each, x.shape[-2:]) for each in coarse)


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_program_compiled_for_any_size_pools_maps_of_any_size(tmp_path: Path) -> None:
    check = export_model(small_model(3, 4, head=Pooled), tmp_path / "m.aoti.pt2", raw=True).check
    assert check.passed and {each.shape[1:] for each in check.agreements} >= {(161, 129), (512, 640)}
