"""Exported files are models again: they load, predict and are evaluated, and say what they cannot do."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.evaluation_models import small_model
from helpers.small_file import SETTINGS, small_card
from PIL import Image

import vitrail
from vitrail.checkpoints import save_model
from vitrail.checkpoints.exported import ExportedSegmentor, computing_device
from vitrail.cli import cli
from vitrail.errors import CheckpointError, DeviceError, ExportError, ModelError, PredictionError
from vitrail.export import export_model, read_export_metadata
from vitrail.export.check import street_images
from vitrail.inference import Predictor
from vitrail.recipes import EvalConfig, model_config_from_dict
from vitrail.segmentors import Segmentor, build_model

needs_onnx = pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="needs the [export] extra")
FORMATS = ["pt2", pytest.param("onnx", marks=needs_onnx)]
DESCRIBED = {"output": "classes", "head_output": "logits", "align_corners": False, "size": None}
IMAGES = list(street_images((2, 96, 128)))


@pytest.fixture(scope="module")
def model() -> Segmentor:
    return small_model(3, 4, align_corners=True)


@pytest.fixture(scope="module")
def raw_files(model: Segmentor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model in every format that is installed, exported with raw=True."""
    folder = tmp_path_factory.mktemp("raw")
    for format in ("pt2", "onnx") if importlib.util.find_spec("onnxruntime") else ("pt2",):
        export_model(model, folder / f"m.{format}", raw=True)
    return folder


def reload(path: Path) -> Segmentor:
    return vitrail.load(path, trust_imports=path.suffix == ".pt2")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "settings",
    [
        EvalConfig(batch_size=2),
        EvalConfig(mode="slide", window=(64, 80), stride=(48, 48), flip=True, batch_size=3),
        EvalConfig(average="probabilities", flip=True),
    ],
    ids=["whole", "windows", "flip"],
)
def test_a_raw_file_predicts_as_the_model_does(model: Segmentor, raw_files: Path, format: str, settings) -> None:
    exported = reload(raw_files / f"m.{format}")
    assert isinstance(exported, ExportedSegmentor) and exported.card == model.card
    for sizes in (None, [(70, 90), (100, 131)]):
        found = Predictor(exported, settings).scores(IMAGES, sizes)
        expected = Predictor(model, settings, device="cpu").scores(IMAGES, sizes)
        for each, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(each, wanted, atol=1e-4, rtol=1e-4)


@needs_onnx
def test_scales_differ_by_the_rounding_to_uint8_only(model: Segmentor, raw_files: Path) -> None:
    settings = EvalConfig(scales=(1.0, 1.5))
    (found,) = Predictor(reload(raw_files / "m.onnx"), settings).segment(IMAGES[:1])
    (expected,) = Predictor(model, settings, device="cpu").segment(IMAGES[:1])
    assert (found == expected).float().mean() > 0.98


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_of_class_indices_predicts_them_with_their_probabilities(
    model: Segmentor, tmp_path: Path, format: str
) -> None:
    export_model(model, tmp_path / f"m.{format}", scores=True)
    predictor = Predictor(reload(tmp_path / f"m.{format}"), scores=True, batch_size=2)
    images = [each.permute(1, 2, 0).numpy() for each in IMAGES]
    expected = Predictor(model, device="cpu", scores=True)(images)
    for found, wanted in zip(predictor(images), expected, strict=True):
        assert found.mask.dtype == wanted.mask.dtype and (found.mask == wanted.mask).mean() > 0.999
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    larger = predictor.segment(IMAGES[:1], [(192, 256)])[0]
    assert torch.equal(larger[::2, ::2], predictor.segment(IMAGES[:1])[0])


@needs_onnx
def test_what_class_indices_do_not_allow_is_said_and_the_advice_works(
    model: Segmentor, raw_files: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    export_model(model, path)
    exported = reload(path)
    wishes = [{"flip": True}, {"scales": (0.5, 1.0)}, {"mode": "slide", "window": (64, 64), "stride": (32, 32)}]
    for wish in wishes:
        with pytest.raises(PredictionError, match=r"need the values of all classes: export.*--raw"):
            Predictor(exported, EvalConfig(**wish))
    with pytest.raises(PredictionError, match="of all classes"):
        Predictor(exported).scores(IMAGES)
    with pytest.raises(PredictionError, match="sliding windows"):
        Predictor(exported, whole_pixels=1000).predict(IMAGES[0])
    with pytest.raises(PredictionError, match=r"no probabilities: export.*--scores"):
        Predictor(exported, scores=True)
    path = raw_files / "m.onnx"
    for wish in wishes:
        Predictor(reload(path), EvalConfig(**wish), scores=True).segment(IMAGES[:1])
    Predictor(reload(path), whole_pixels=1000, scores=True).predict(IMAGES[0])


@needs_onnx
def test_what_no_exported_file_can_do_is_said(model: Segmentor, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    export_model(model, path, size=(96, 128), raw=True)
    exported = reload(path)
    with pytest.raises(PredictionError, match=r"takes images of 96 × 128 only, not 64 × 64.*--dynamic"):
        Predictor(exported).predict(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ModelError, match="cannot be trained"):
        exported(torch.zeros(1, 3, 96, 128), torch.zeros(1, 96, 128).long())
    with pytest.raises(ModelError, match=r"exported model: its weights cannot be taken out.*use the model file"):
        exported.state_dict()
    with pytest.raises(ExportError, match="is an exported file"):
        export_model(exported, tmp_path / "n.pt2")
    with pytest.raises(DeviceError, match="cannot be compiled"):
        Predictor(exported, compile="inductor")
    with pytest.raises(DeviceError, match="precision is fixed"):
        Predictor(exported, amp="bfloat16")
    with pytest.raises(ModelError, match="runs on the CPU here, not on cuda: device=cpu"):
        computing_device(exported, torch.device("cuda"), explicit=True)
    assert computing_device(exported, torch.device("cuda"), explicit=False).type == "cpu"


def test_a_file_that_can_hold_code_is_loaded_only_when_it_is_trusted(model: Segmentor, tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    export_model(model, path)
    with pytest.raises(CheckpointError, match=r"can run code.*--trust-imports"):
        vitrail.load(path)
    assert vitrail.load(path, trust_imports=True).card == model.card


@needs_onnx
def test_damaged_and_foreign_files_are_named(model: Segmentor, tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "m.onnx"
    path.write_bytes(b"junk")
    with pytest.raises(CheckpointError, match=r"m\.onnx was not exported by vitrail, or is damaged"):
        vitrail.load(path)
    export_model(model, path, overwrite=True)
    proto = onnx.load(str(path))
    described = json.loads(proto.metadata_props[0].value)
    proto.metadata_props[0].value = json.dumps({**described, "output": "everything"})
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(CheckpointError, match="output: Input should be 'classes', 'scores' or 'raw'"):
        vitrail.load(path)
    proto.metadata_props[0].value = json.dumps(described)
    secret = tmp_path.parent / "secret"
    onnx.external_data_helper.set_external_data(proto.graph.initializer[0], location=str(secret))
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(CheckpointError, match="weights from other files"):
        vitrail.load(path)
    with pytest.raises(CheckpointError, match="no model file at"):
        vitrail.load(tmp_path / "gone.onnx")


@pytest.mark.slow
@needs_onnx
def test_the_command_line_predicts_and_evaluates_exported_files(tmp_path: Path) -> None:
    benchmark = vitrail.create_dataset("scenes", None, "val").benchmark
    card = dataclasses.replace(small_card(benchmark.classes), palette=benchmark.palette)
    saved = build_model(model_config_from_dict(SETTINGS), len(card.classes), card=card).eval()
    save_model(saved, tmp_path / "m.safetensors")
    export_model(saved, tmp_path / "m.onnx", size=(96, 128))
    Image.fromarray(IMAGES[0].permute(1, 2, 0).numpy()).save(tmp_path / "street.png")
    for name in ("m.safetensors", "m.onnx"):
        out = tmp_path / f"out-{Path(name).suffix[1:]}"
        arguments = [str(tmp_path / name), str(tmp_path / "street.png"), "-o", str(out), "--kind", "index"]
        result = CliRunner().invoke(cli, ["predict", *arguments, "--device", "cpu"])
        assert result.exit_code == 0, result.output
    first, second = (
        np.asarray(Image.open(tmp_path / f"out-{each}" / "street_index.png")) for each in ("safetensors", "onnx")
    )
    assert (first == second).mean() > 0.999
    figures = [
        vitrail.evaluate(tmp_path / name, overrides=["data.options={val: 3, size: [96, 128]}"], device="cpu").miou
        for name in ("m.safetensors", "m.onnx")
    ]
    assert figures[0] == pytest.approx(figures[1], abs=1e-3)


def test_a_file_that_returns_something_else_than_it_says_is_named(tmp_path: Path) -> None:
    wrong: tuple[torch.Tensor, ...] = ()
    exported = ExportedSegmentor(lambda images: wrong, DESCRIBED, small_card(("a", "b")), tmp_path / "m.onnx")
    image = torch.zeros(1, 3, 8, 9, dtype=torch.uint8)
    for returned, message in (
        ((torch.full((1, 8, 9), 2),), "indices beyond those of its 2 classes"),
        ((torch.full((1, 8, 9), -1),), "indices beyond those of its 2 classes"),
        ((torch.zeros(1, 3, 8, 9),), "values of the shape"),
        ((torch.zeros(2, 8, 9),), "values of the shape"),
        ((), "it returns 0 values"),
    ):
        wrong = returned
        with pytest.raises(PredictionError, match=message):
            exported.run(image)
    raw = ExportedSegmentor(
        lambda images: (images[:, 0],), {**DESCRIBED, "output": "raw"}, exported.card, tmp_path / "m.onnx"
    )
    with pytest.raises(PredictionError, match="values of the shape"):
        raw.run(image)


@needs_onnx
@pytest.mark.parametrize("place", ["sparse", "function"])
def test_weights_in_other_files_are_found_wherever_they_are_named(place: str, tmp_path: Path) -> None:
    import onnx
    from onnx import helper, numpy_helper

    outside = numpy_helper.from_array(np.zeros(4, np.float32), "outside")
    onnx.external_data_helper.set_external_data(outside, location="/etc/passwd")
    outside.ClearField("raw_data")
    proto = helper.make_model(helper.make_graph([], "graph", [], []))
    if place == "sparse":
        sparse = proto.graph.sparse_initializer.add()
        sparse.values.CopyFrom(outside)
    else:
        node = helper.make_node("Constant", [], ["k"], value=outside)
        proto.functions.append(helper.make_function("d", "F", [], ["k"], [node], [helper.make_opsetid("", 19)]))
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(CheckpointError, match="weights from other files"):
        vitrail.load(tmp_path / "m.onnx")


def test_metadata_of_an_export_are_read_within_limits(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/extra/vitrail.json", bytes(90 << 20))
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02") + 24
    content[at : at + 4] = (40).to_bytes(4, "little")  # the size that the archive states
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ExportError, match="not exported by vitrail"):
            read_export_metadata(path)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ExportError, match="no file at"):
        read_export_metadata(tmp_path / "pipe.onnx")
