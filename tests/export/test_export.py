"""`vitrail.export_model`: files that other programs run, checked against the model at several sizes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.evaluation_models import Linear, small_model
from helpers.small_file import SETTINGS, small_card
from torch import Tensor, nn
from torch.nn import functional as F

import vitrail
from vitrail.checkpoints import save_model
from vitrail.cli import cli, main
from vitrail.errors import ExportError
from vitrail.export import EXPORTERS, export_model, pt2_format, read_export_metadata, register_exporter
from vitrail.export.check import ExportCheck, street_images
from vitrail.export.graph import ExportableOperations, adaptive_average
from vitrail.export.onnx_format import keep_small_addends
from vitrail.export.operations import ONNX, ReplacingGraph
from vitrail.inference import Predictor
from vitrail.layers.points import uncertain_pixels
from vitrail.recipes import model_config_from_dict
from vitrail.registry import find_registry
from vitrail.segmentors import Segmentor, build_model

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the [export] extra",
)
FORMATS = ["pt2", pytest.param("onnx", marks=needs_onnx)]


def run(path: Path, images: torch.Tensor) -> tuple[np.ndarray, ...]:
    """Run an exported file as a user without vitrail would."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return tuple(session.run(None, {"images": images.numpy()}))
    with torch.no_grad():
        return tuple(each.numpy() for each in torch.export.load(path).module()(images))


@pytest.fixture
def model() -> Segmentor:
    model = small_model(3, 4)
    model.card = vitrail.ModelCard(
        **{**model.card.__dict__, "license": "CC-BY-4.0", "source": "a test", "name": "tiny"}
    )
    return model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A model file."""
    card = small_card()
    fast_scnn = build_model(model_config_from_dict(SETTINGS), len(card.classes), card=card).eval()
    save_model(fast_scnn, tmp_path / "saved.safetensors")
    return tmp_path / "saved.safetensors"


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_for_any_size_gives_the_classes_and_scores_of_the_predictor(
    model: Segmentor, tmp_path: Path, format: str
) -> None:
    path = tmp_path / f"model.{format}"
    exported = export_model(model, path, scores=True)
    assert exported.path == path and exported.format == format and exported.check.passed
    predictor = Predictor(model, device="cpu")
    for shape in ((1, 70, 101), (4, 96, 64)):
        images = street_images(shape)
        classes, scores = run(path, images)
        assert classes.dtype == np.uint8 and classes.shape == shape
        for image, found, score in zip(images, classes, scores, strict=True):
            (expected,) = predictor.segment_with_scores([image])
            assert (found != expected.mask.numpy()).mean() < 1e-3
            np.testing.assert_allclose(score, expected.scores.numpy(), atol=1e-4)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_for_one_size_takes_any_number_of_images_of_that_size_only(
    model: Segmentor, tmp_path: Path, format: str
) -> None:
    path = tmp_path / f"model.{format}"
    export_model(model, path, size=(72, 88), raw=True)
    images = street_images((3, 72, 88))
    (values,) = run(path, images)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (model.card.mean, model.card.std))
    with torch.no_grad():
        np.testing.assert_allclose(values, model((images.float() - mean) / std).numpy(), atol=1e-4)
    with pytest.raises(Exception, match=r"(?i)dimension|shape|size|guard|88"):
        run(path, street_images((1, 72, 96)))


@pytest.mark.parametrize("format", FORMATS)
def test_the_metadata_say_what_the_file_is_and_how_well_it_agrees(
    model: Segmentor, tmp_path: Path, format: str
) -> None:
    path = tmp_path / f"model.{format}"
    exported = export_model(model, path)
    described = read_export_metadata(path)
    assert vitrail.ModelCard.from_dict(described["card"]) == model.card
    assert described["card"]["license"] == "CC-BY-4.0"
    assert described["outputs"] == ["classes"] and described["size"] is None
    assert described["check"] == json.loads(json.dumps(exported.check.to_dict()))
    assert described["check"]["passed"] and len({tuple(a["shape"]) for a in described["check"]["agreements"]}) == 7


@needs_onnx
def test_onnx_files_name_their_inputs_outputs_and_dimensions(model: Segmentor, tmp_path: Path) -> None:
    import onnx

    export_model(model, tmp_path / "m.onnx", scores=True, options={"opset": 19})
    proto = onnx.load(str(tmp_path / "m.onnx"))
    onnx.checker.check_model(proto)
    assert {entry.version for entry in proto.opset_import if not entry.domain} == {19}
    with pytest.raises(ExportError, match=r"writes opset \d+ in place of 99"):
        export_model(model, tmp_path / "newest.onnx", options={"opset": 99})
    (images,), (classes, scores) = proto.graph.input, proto.graph.output
    assert (images.name, classes.name, scores.name) == ("images", "classes", "scores")
    assert [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim] == [
        "batch",
        3,
        "height",
        "width",
    ]


def test_many_classes_are_int32(tmp_path: Path) -> None:
    model = small_model(1, 1, num_classes=300)
    export_model(model, tmp_path / "m.pt2")
    assert run(tmp_path / "m.pt2", street_images((1, 64, 64)))[0].dtype == np.int32


class Scores(Linear):
    output = "scores"

    def forward(self, features):
        return super().forward(features).relu() + 0.01


class Probabilities(Linear):
    output = "probabilities"

    def forward(self, features):
        return super().forward(features).softmax(1)


@pytest.mark.parametrize("head", [Scores, Probabilities])
def test_scores_are_the_probabilities_that_the_head_declares(head: type[Linear], tmp_path: Path) -> None:
    model = small_model(3, 2, head=head)
    export_model(model, tmp_path / "m.pt2", scores=True)
    images = street_images((1, 64, 80))
    _, scores = run(tmp_path / "m.pt2", images)
    (expected,) = Predictor(model, device="cpu").segment_with_scores(list(images))
    np.testing.assert_allclose(scores[0], expected.scores.numpy(), atol=1e-5)


def test_a_model_in_training_mode_is_exported_for_evaluation_and_left_alone(model: Segmentor, tmp_path: Path) -> None:
    expected = Predictor(model, device="cpu").segment([street_images((1, 64, 64))[0]])[0]
    model.train()
    export_model(model, tmp_path / "m.pt2")
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())
    assert (run(tmp_path / "m.pt2", street_images((1, 64, 64)))[0][0] == expected.numpy()).mean() > 0.999


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EXPORTERS, "_entries", dict(EXPORTERS.items()))
    monkeypatch.setattr(EXPORTERS, "_modules", dict(EXPORTERS._modules))


class Wrong(pt2_format.TorchExporter):
    """Writes a program whose classes are all one too high."""

    suffix: ClassVar[str] = ".wrong"

    def open(self, path):
        right = super().open(path)
        return lambda images: ((right(images)[0] + 1) % 4, *right(images)[1:])


def test_a_file_that_does_not_agree_is_not_left_behind_unless_forced(
    model: Segmentor, tmp_path: Path, registry: None
) -> None:
    register_exporter("wrong")(Wrong)
    path = tmp_path / "m.wrong"
    path.write_text("from before")
    with pytest.raises(ExportError, match=r"m\.wrong exists: --overwrite"):
        export_model(model, path, force=True)
    with pytest.raises(ExportError, match=r"(?s)does not agree.*0\.\d+% of pixels equal.*--force"):
        export_model(model, path, overwrite=True)
    assert path.read_text() == "from before" and [each.name for each in tmp_path.iterdir()] == ["m.wrong"]
    exported = export_model(model, path, force=True, overwrite=True)
    assert not exported.check.passed
    assert read_export_metadata(path)["check"]["passed"] is False


def test_a_check_measures_what_differs() -> None:
    from vitrail.export.check import FailedRunError, check_export
    from vitrail.export.graph import ExportGraph
    from vitrail.transforms import Normalize

    model = small_model(3, 2)
    graph = ExportGraph(model, Normalize(model.card.mean, model.card.std), "raw").eval()
    with torch.no_grad():
        largest = float(model(graph.normalize(street_images((2, 64, 64)))).abs().max())

    def off(images):
        with torch.no_grad():
            values = graph(images)[0].clone()
        values[0, :, :16] += torch.tensor([0.5, 0, 0, 0])[:, None, None] * largest
        return (values,)

    (agreement,) = check_export(graph, off, [(2, 64, 64)]).agreements
    assert agreement.difference == pytest.approx(0.5, rel=1e-4)
    assert 1 - 1 / 8 <= agreement.equal < 1
    assert not ExportCheck((agreement,)).passed

    def smaller(images):
        return tuple(values[..., 1:] for values in graph(images))

    with pytest.raises(
        FailedRunError, match=r"images of 64 × 64: it returns classes \[2, 64, 63\] in place of \[2, 64, 64\]"
    ):
        check_export(graph, smaller, [(2, 64, 64)])


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    model: Segmentor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name.startswith("onnx") else original(name, *rest)
    )
    with pytest.raises(ExportError, match=r"'onnx' needs .*: pip install onnx onnxscript onnxruntime"):
        export_model(model, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_a_torch_whose_programs_have_no_ranges_of_sizes_is_named(
    model: Segmentor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.export.Dim, "DYNAMIC", object())
    with pytest.raises(ExportError, match=r"exporting needs torch 2\.8 or later, this is .*: upgrade torch"):
        export_model(model, tmp_path / "m.pt2")


def test_formats_are_chosen_by_suffix_or_name(model: Segmentor, tmp_path: Path, registry: None) -> None:
    assert find_registry("export format") is EXPORTERS and {"onnx", "pt2"} <= set(EXPORTERS)
    with pytest.raises(ExportError, match=r"no format writes \.bin files; name one.*onnx \(\.onnx\), .*pt2 \(\.pt2\)"):
        export_model(model, tmp_path / "m.bin")
    assert export_model(model, tmp_path / "m.bin", format="pt2", size=(64, 64)).format == "pt2"  # the advice
    with pytest.raises(ExportError, match="Did you mean 'onnx'"):
        export_model(model, tmp_path / "m.bin", format="onx")
    register_exporter("second")(type("Second", (pt2_format.TorchExporter,), {}))
    with pytest.raises(ExportError, match=r"several formats write \.pt2 files"):
        export_model(model, tmp_path / "m.pt2")


def test_mistakes_are_named(model: Segmentor, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"'pt2'.*no argument 'opset'"):
        export_model(model, tmp_path / "m.pt2", options={"opset": 18})
    with pytest.raises(ExportError, match="exclude each other"):
        export_model(model, tmp_path / "m.pt2", raw=True, scores=True)
    with pytest.raises(ExportError, match="at least 18"):
        EXPORTERS["onnx"](opset=11)
    for size in (512, (0, 3), (100.5, 64), (64, 64, 3), "ab"):
        with pytest.raises(ExportError, match=r"size is \(height, width\) in pixels"):
            export_model(model, tmp_path / "m.pt2", size=size)  # type: ignore[arg-type]
    model.card = None
    with pytest.raises(ExportError, match="no card"):
        export_model(model, tmp_path / "m.pt2")
    (tmp_path / "junk.pt2").write_bytes(b"junk")
    with pytest.raises(ExportError, match="not exported by vitrail"):
        read_export_metadata(tmp_path / "junk.pt2")
    with pytest.raises(ExportError, match="no file at"):
        read_export_metadata(tmp_path / "gone.pt2")


class OneSize(Linear):
    """Computes with the size of its input as a number, as a fixed position embedding does."""

    def __init__(self, num_classes: int, align_corners: bool = False) -> None:
        super().__init__(num_classes, align_corners)
        self.position = nn.Parameter(torch.randn(1, 8, 32, 40))

    def forward(self, features):
        return super().forward([features[-1] + self.position])


def test_a_model_of_one_size_says_so_and_the_advice_works(tmp_path: Path) -> None:
    model = small_model(3, 4, head=OneSize)
    with pytest.raises(ExportError, match=r"Try one size only, such as size=\(128, 160\) \(--size 128 160\)"):
        export_model(model, tmp_path / "m.pt2")
    assert not list(tmp_path.iterdir())
    assert export_model(model, tmp_path / "m.pt2", size=(128, 160)).check.passed


@pytest.mark.parametrize("output_size", [1, 3, 6, (2, 5), (None, 4)])
@pytest.mark.parametrize("size", [(6, 6), (17, 20), (3, 41)])
def test_averages_by_products_are_those_of_adaptive_pooling(output_size, size) -> None:
    x = torch.randn(2, 4, *size)
    expected = F.adaptive_avg_pool2d(x, output_size)
    torch.testing.assert_close(adaptive_average(x, output_size), expected)
    with ExportableOperations():
        torch.testing.assert_close(nn.AdaptiveAvgPool2d(output_size)(x), expected)


class UncertainPixels(nn.Module):
    """The step of PointRend that chooses pixels: all of them in small images, some in large ones."""

    def forward(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return uncertain_pixels(logits, 200)


@pytest.mark.parametrize("format", FORMATS)
def test_as_many_uncertain_pixels_are_chosen_as_the_size_has(format: str, tmp_path: Path) -> None:
    any_size = torch.export.Dim.DYNAMIC
    shapes = ({0: any_size, 2: any_size, 3: any_size},)
    module = ReplacingGraph(UncertainPixels(), ONNX) if format == "onnx" else UncertainPixels()
    program = torch.export.export(module, (torch.randn(2, 5, 8, 10),), dynamic_shapes=shapes, strict=False)
    if format == "onnx":
        options = {"dynamo": True, "verbose": False, "input_names": ["images"]}
        torch.onnx.export(program, **options).save(str(tmp_path / "m.onnx"))
    else:
        torch.export.save(program, tmp_path / "m.pt2")
    for size in ((8, 10), (7, 31), (40, 50)):
        logits = torch.randn(3, 5, *size)
        found = run(tmp_path / f"m.{format}", logits)
        for each, expected in zip(found, uncertain_pixels(logits, 200), strict=True):
            np.testing.assert_allclose(each, expected.numpy(), rtol=1e-6)


def test_attention_with_and_without_heads_is_the_same() -> None:
    query, key, value = (torch.randn(2, length, 8) for length in (5, 7, 7))
    expected = F.scaled_dot_product_attention(query, key, value)
    with ExportableOperations():
        torch.testing.assert_close(F.scaled_dot_product_attention(query, key, value), expected)


def test_the_command_line_exports(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "fast.pt2"
    result = CliRunner().invoke(cli, ["export", str(saved), str(out), "--size", "64", "96"])
    assert result.exit_code == 0, result.output
    assert "agrees with the model" in result.output and "1 × 64 × 96" in result.output
    assert read_export_metadata(out)["size"] == [64, 96]
    assert run(out, street_images((2, 64, 96)))[0].shape == (2, 64, 96)


def test_mistakes_on_the_command_line_end_with_status_2(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in (
        (["m.bin"], "no format writes"),
        (["m.pt2", "--size", "64", "64", "--dynamic"], "exclude each other"),
        (["m.pt2", "opset=18"], "no argument 'opset'"),
        (["m.pt2", "opset"], "vitrail export takes KEY=VALUE"),
    ):
        command = ["vitrail", "export", str(saved), str(tmp_path / arguments[0]), *arguments[1:]]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2 and message in capsys.readouterr().err


def test_modules_lists_what_is_imported() -> None:
    wanted: Mapping[str, str] = EXPORTERS["onnx"].modules
    assert set(wanted) == {"onnx", "onnxscript", "onnxruntime"}


@pytest.mark.parametrize("small", [1e-15, -1e-15])
def test_a_small_number_is_added_in_onnx_too(small: float) -> None:
    pytest.importorskip("onnxscript")

    class Share(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / (x + small) / (x - small)

    program = torch.export.export(Share(), (torch.ones(2, 3),))
    keep_small_addends(program)
    exported = torch.onnx.export(program, dynamo=True, verbose=False)
    assert exported is not None
    kinds = [node.op_type for node in exported.model_proto.graph.node]
    assert kinds.count("Add") + kinds.count("Sub") == 2
