"""ExecuTorch, Core ML and TensorRT: files for telephones, Apple's systems and graphics cards."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from helpers.evaluation_models import Linear, small_model
from helpers.small_file import SETTINGS, small_card
from torch import Tensor
from torch.nn import functional as F

import vitrail
from vitrail.checkpoints import save_model
from vitrail.cli import cli
from vitrail.errors import CheckpointError, ExportError
from vitrail.export import export_model, read_export_metadata, tensorrt_format
from vitrail.export.check import street_images
from vitrail.inference import Predictor
from vitrail.recipes import model_config_from_dict
from vitrail.segmentors import Segmentor, build_model

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the [export] extra",
)
SIZE = (64, 96)


@pytest.fixture
def model() -> Segmentor:
    torch.manual_seed(1)
    return small_model(3, 4)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(importlib.util.find_spec("executorch") is None, reason="needs the [executorch] extra")
def test_an_executorch_file_is_a_model_again(model: Segmentor, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"(?s)reserves memory .*Try one size only, such as size=\(128, 160\)"):
        export_model(model, tmp_path / "model.pte")
    path = tmp_path / "model.pte"
    exported = export_model(model, path, size=SIZE, raw=True)
    assert exported.format == "executorch" and exported.check is not None and exported.check.passed
    assert read_export_metadata(path)["check"]["agreements"][1]["shape"] == [3, *SIZE]
    images = list(street_images((2, *SIZE)))
    loaded = Predictor(vitrail.load(path), device="cpu")
    torch.testing.assert_close(loaded.scores(images), Predictor(model, device="cpu").scores(images), atol=1e-4, rtol=0)


class Computed(Linear):
    """A convolution with computed weights, half a table of weights, and resizing that devices do not have."""

    def __init__(self, num_classes: int, align_corners: bool = False) -> None:
        super().__init__(num_classes, align_corners)
        self.table = torch.nn.Parameter(torch.randn(2 * num_classes, num_classes))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x = F.conv2d(features[-1], self.classifier.weight + 0.5 * self.classifier.weight.flip(0))
        x = F.interpolate(x[..., :-1, :-1], scale_factor=0.5, mode="bilinear")  # odd sides
        x = F.linear(x.movedim(1, -1), self.table.chunk(2)[1]).movedim(-1, 1)
        return F.interpolate(x, size=(20, 24), mode="bicubic")


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(importlib.util.find_spec("executorch") is None, reason="needs the [executorch] extra")
def test_xnnpack_computes_what_has_computed_weights(tmp_path: Path) -> None:
    model = small_model(3, 4, head=Computed)
    path = tmp_path / "model.pte"
    assert export_model(model, path, size=SIZE, raw=True).check.passed
    content = path.read_bytes()
    for operation in (b"aten::convolution", b"aten::addmm", b"aten::index"):  # portable ones
        assert operation not in content


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(importlib.util.find_spec("coremltools") is None, reason="needs the [coreml] extra")
def test_core_ml_takes_resizing_that_it_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "model.mlpackage"
    export_model(small_model(3, 4, head=Computed), path, size=SIZE, raw=True, force=True)
    assert path.is_dir()


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(importlib.util.find_spec("coremltools") is None, reason="needs the [coreml] extra")
@pytest.mark.skipif(sys.platform == "darwin", reason="says what happens where Core ML does not run")
def test_a_core_ml_package_describes_itself_where_it_cannot_run(model: Segmentor, tmp_path: Path) -> None:
    import coremltools

    path = tmp_path / "model.mlpackage"
    with pytest.raises(ExportError, match=r"runs on macOS only, so the file cannot be checked .* \(--force\) keeps it"):
        export_model(model, path, size=SIZE, scores=True)
    assert not list(tmp_path.iterdir())
    for overwrite in (False, True):
        exported = export_model(
            model, path, size=SIZE, scores=True, precision="float16", force=True, overwrite=overwrite
        )
    assert exported.check is None and [each.name for each in tmp_path.iterdir()] == ["model.mlpackage"]
    spec = coremltools.utils.load_spec(str(path))
    (given,) = spec.description.input
    assert (given.name, given.type.imageType.height, given.type.imageType.width) == ("images", *SIZE)
    assert [output.name for output in spec.description.output] == ["classes", "scores"]
    assert read_export_metadata(path)["card"]["classes"] == list(model.card.classes)
    with pytest.raises(CheckpointError, match="Core ML runs on macOS only"):
        vitrail.load(path)


class FakeTensorRt(ModuleType):
    """As much of TensorRT as building an engine calls, with what it was given."""

    uint8, int32, float32 = "uint8", "int32", "float32"

    def __init__(self, problem: str = "") -> None:
        super().__init__("tensorrt")
        self.__spec__ = importlib.util.spec_from_loader("tensorrt", None)
        self.problem = problem
        self.shapes: dict[str, tuple[Any, ...]] = {}
        self.parsed = b""
        self.builds = 0
        self.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        self.Builder = lambda logger: self
        self.OnnxParser = lambda network, logger: self
        self.num_errors = 1

    def create_network(self, flags: int) -> object:
        assert flags == 2
        return self

    def parse(self, content: bytes) -> bool:
        self.parsed = content
        return not self.problem

    def get_error(self, index: int) -> object:
        return SimpleNamespace(desc=lambda: self.problem)

    def create_builder_config(self) -> object:
        return SimpleNamespace(add_optimization_profile=lambda profile: None)

    def create_optimization_profile(self) -> object:
        return SimpleNamespace(set_shape=lambda name, *shapes: self.shapes.__setitem__(name, shapes))

    def build_serialized_network(self, network: object, config: object) -> memoryview:
        self.builds += 1
        return memoryview(b"engine")


@needs_onnx
def test_tensorrt_builds_an_engine_of_the_onnx_model(
    model: Segmentor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx
    from onnx import TensorProto, helper

    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 3, "height", "width"])
    classes = helper.make_tensor_value_info("classes", TensorProto.UINT8, ["batch", 3, "height", "width"])
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["classes"])], "copy", [images], [classes])
    monkeypatch.setattr(tensorrt_format, "trace_onnx", lambda *given, any_size: helper.make_model(graph))
    library = FakeTensorRt()
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = tmp_path / "model.engine"
    with pytest.raises(ExportError, match=r"needs a GPU of NVIDIA's.*cannot be checked and was not kept"):
        export_model(model, path, size=SIZE)
    export_model(model, path, force=True, options={"max_batch": 4, "max_side": 512})
    assert path.read_bytes() == b"engine" and library.builds == 2  # one for each export
    assert library.shapes["images"] == ((1, 3, 64, 64), (1, 3, 256, 256), (4, 3, 512, 512))
    assert onnx.load_from_string(library.parsed).graph.output[0].name == "classes"
    assert read_export_metadata(path) == json.loads((tmp_path / "model.engine.json").read_text())
    with pytest.raises(CheckpointError, match="can run code"):
        vitrail.load(path)
    library.problem = "no importer for Loop"
    with pytest.raises(ExportError, match=r"(?s)TensorRT cannot express this model.*no importer for Loop"):
        export_model(model, path, size=SIZE, overwrite=True)


@pytest.mark.parametrize(
    ("suffix", "module"), [("pte", "executorch"), ("mlpackage", "coremltools"), ("engine", "tensorrt")]
)
def test_a_missing_library_is_named(
    model: Segmentor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, module: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == module else found(name, *rest))
    with pytest.raises(ExportError, match=f"needs .*{module}.*: pip install .*{module}"):
        export_model(model, tmp_path / f"m.{suffix}")


def test_the_command_line_says_what_was_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vitrail.export import NotRunnableError, pt2_format

    def refuse(self: object, path: Path) -> None:
        raise NotRunnableError("there is no such device")

    monkeypatch.setattr(pt2_format.TorchExporter, "open", refuse)
    model = build_model(model_config_from_dict(SETTINGS), len(small_card().classes), card=small_card())
    save_model(model, tmp_path / "model.safetensors")
    files = [str(tmp_path / name) for name in ("model.safetensors", "m.pt2")]
    result = CliRunner().invoke(cli, ["export", *files, "--size", "64", "64", "--force"])
    assert result.exit_code == 0 and "was not checked: files of the format 'pt2' do not run" in result.stdout
