"""Predictions for the servers of benchmarks."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.evaluation_models import small_model
from helpers.image_makers import save
from helpers.official_layouts import WRITERS
from PIL import Image

import vitrail
import vitrail.evaluation.evaluator
from vitrail import cli
from vitrail.datasets import benchmarks
from vitrail.errors import VitrailError
from vitrail.evaluation.submission import check_submission
from vitrail.recipes import DataConfig, EvalConfig, ModelConfig, Recipe, TrainConfig

SERVERS = [name for name, benchmark in benchmarks().items() if benchmark.submission is not None]
# The files of the test split, and the values of classes 0 and 1, as the servers' descriptions say.
EXPECTED = {
    "ade20k": (["ADE_test_00000001.png"], (1, 2)),
    "atr": (["997.png"], (0, 1)),
    "bdd100k": (["t.png"], (0, 1)),
    "cihp": (["test_1.png"], (0, 1)),
    "cityscapes": (["berlin_000543_000019_labelIds.png"], (7, 8)),
    "lip": (["test_1.png"], (0, 1)),
    "loveda": (["4191.png", "4200.png"], (0, 1)),
    "mapillary_v1": (["test_1.png"], (0, 1)),
    "mapillary_v2": (["test_1.png"], (0, 1)),
    "pascal_context": (["2008_000002.png"], (0, 1)),  # its test images are the validation images of the challenge
    "pascal_context_59": (["2008_000002.png"], (1, 2)),
    "voc": ([f"results/VOC2012/Segmentation/comp6_test_cls/2007_0000{n}.png" for n in (32, 39)], (0, 1)),
}


def recipe(name):
    return Recipe(
        name="small",
        model=ModelConfig(segmentor="fcn"),
        data=DataConfig(dataset=name, mean=(120, 110, 100), std=(50, 55, 60), workers=0),
        train=TrainConfig(epochs=1),
        evaluation=EvalConfig(),
    )


def hand_in(name, root, folder, split="test", **options):
    model = small_model(num_classes=len(benchmarks()[name].classes))
    return vitrail.evaluate(
        model, recipe=recipe(name), data_root=root, split=split, device="cpu", submission=folder, **options
    )


def test_every_server_is_tested():
    assert set(EXPECTED) == set(SERVERS)


@pytest.mark.parametrize("name", SERVERS)
def test_files_are_named_and_numbered_as_the_server_wants(tmp_path, name):
    WRITERS[name](tmp_path / "data")
    split = "val" if name.startswith("pascal_context") else "test"
    indices, handed_in = tmp_path / "indices", tmp_path / "handed_in"
    evaluation = hand_in(name, tmp_path / "data", handed_in, split, save_predictions=indices)
    files, values = EXPECTED[name]
    assert sorted(path.relative_to(handed_in).as_posix() for path in handed_in.rglob("*.png")) == files
    table = benchmarks()[name].submission.values or range(256)
    assert (table[0], table[1]) == values
    for written, own in zip(sorted(handed_in.rglob("*.png")), sorted(indices.rglob("*.png")), strict=True):
        with Image.open(written) as picture, Image.open(own) as expected:
            assert picture.mode == ("P" if name == "voc" else "L")
            assert np.array_equal(np.asarray(picture), np.array(table)[np.asarray(expected)])
            if name == "voc":
                assert picture.getpalette()[:63] == [
                    value for colour in benchmarks()["voc"].palette for value in colour
                ]
    assert evaluation.images == len(files)
    labelled = split == "val" or name == "atr"
    assert ("nothing to compare with" in evaluation.table()) == (not labelled) == bool(np.isnan(evaluation.miou))


def test_files_are_replaced_only_when_asked_for(tmp_path):
    WRITERS["bdd100k"](tmp_path / "data")
    hand_in("bdd100k", tmp_path / "data", tmp_path / "out")
    before = (tmp_path / "out/t.png").read_bytes()
    (tmp_path / "out/t.png").write_bytes(b"mine")
    with pytest.raises(VitrailError, match=r"t\.png exists: --overwrite"):
        hand_in("bdd100k", tmp_path / "data", tmp_path / "out")
    assert (tmp_path / "out/t.png").read_bytes() == b"mine"
    hand_in("bdd100k", tmp_path / "data", tmp_path / "out", overwrite=True)
    assert (tmp_path / "out/t.png").read_bytes() == before
    (tmp_path / "out/other.png").write_bytes(b"other")
    with pytest.raises(VitrailError, match=r"other PNG files, such as .*other\.png"):
        hand_in("bdd100k", tmp_path / "data", tmp_path / "out", overwrite=True)


def test_no_file_of_the_dataset_is_ever_replaced(tmp_path):
    WRITERS["loveda"](tmp_path)
    for folder in ("masks_png", "images_png"):
        place = tmp_path / "Val/Urban" / folder
        with pytest.raises(VitrailError, match="a file of the dataset"):
            hand_in("loveda", tmp_path, place, "val_urban", overwrite=True)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda folder: (folder / "t.png").unlink(), r"t\.png is missing"),
        (lambda folder: save(folder / "u.png", np.zeros((24, 32), np.uint8)), r"u\.png belongs to no image"),
        (lambda folder: save(folder / "t.png", np.zeros((32, 24), np.uint8)), "24×32, but its image 32×24"),
        (lambda folder: save(folder / "t.png", np.full((24, 32), 19, np.uint8)), "holds the value 19"),
        (lambda folder: save(folder / "t.png", np.zeros((24, 32, 3), np.uint8)), "mode RGB, not L"),
        (lambda folder: (folder / "t.png").write_bytes(b"x"), "cannot be read"),
    ],
)
def test_a_folder_that_a_server_would_refuse_is_described(tmp_path, spoil, problem):
    save(tmp_path / "t.png", np.zeros((24, 32), np.uint8))
    check_submission(tmp_path, benchmarks()["bdd100k"], {"t": (24, 32)})
    spoil(tmp_path)
    with pytest.raises(VitrailError, match=problem):
        check_submission(tmp_path, benchmarks()["bdd100k"], {"t": (24, 32)})


def test_what_has_no_server_or_other_classes_is_refused(tmp_path):
    WRITERS["nighttime_driving"](tmp_path)
    with pytest.raises(VitrailError, match=r"no server of Nighttime Driving is known: .*cityscapes"):
        hand_in("nighttime_driving", tmp_path, tmp_path / "out", "val")
    WRITERS["bdd100k"](tmp_path / "bdd")
    with pytest.raises(VitrailError, match=r"data\.classes changes the classes"):
        hand_in("bdd100k", tmp_path / "bdd", tmp_path / "out", overrides=["data.classes={road: street}"])


@pytest.mark.parity
def test_the_figures_of_cityscapes_own_code_are_ours(tmp_path):
    evaluation_code = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    WRITERS["cityscapes"](tmp_path)
    evaluation = hand_in("cityscapes", tmp_path, tmp_path / "out", "val")
    truth = sorted((tmp_path / "gtFine/val").rglob("*_labelIds.png"))
    arguments = evaluation_code.args
    arguments.evalInstLevelScore, arguments.JSONOutput, arguments.quiet = False, False, True
    arguments.predictionPath, arguments.predictionWalk = str(tmp_path / "out"), None
    predicted = [evaluation_code.getPrediction(arguments, str(path)) for path in truth]
    result = evaluation_code.evaluateImgLists(predicted, [str(path) for path in truth], arguments)
    assert result["averageScoreClasses"] == pytest.approx(evaluation.miou, abs=1e-12)
    for name, iou in zip(evaluation.classes, evaluation.iou, strict=True):
        assert result["classScores"][name] == pytest.approx(iou, abs=1e-12, nan_ok=True)


def test_the_command(tmp_path, monkeypatch):
    """Only the model is not a real one: building one of 19 classes takes long."""
    WRITERS["bdd100k"](tmp_path / "data")
    monkeypatch.setattr(vitrail.evaluation.evaluator, "load", lambda *_, **__: small_model(num_classes=19))
    changes = ["data.dataset=bdd100k", "data.workers=0"]
    command = ["evaluate", "model", *changes, "--recipe", "fcn_resnet50os16_cityscapes", "--device", "cpu"]
    command += ["--data-root", str(tmp_path / "data"), "--split", "test", "--submission", str(tmp_path / "out")]
    result = CliRunner().invoke(cli.cli, command)
    assert result.exception is None, result.output
    assert "1 images without masks" in result.stdout and "1 files for the benchmark's server are in" in result.stdout
    assert (tmp_path / "out/t.png").is_file()
    assert "--overwrite" in str(CliRunner().invoke(cli.cli, command).exception)
    assert CliRunner().invoke(cli.cli, [*command, "--overwrite"]).exception is None
