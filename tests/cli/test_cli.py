"""The command line, end to end on scenes, and with every kind of mistake."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import vitrail
from vitrail import cli
from vitrail.checkpoints.loading import DEFAULT_MODEL
from vitrail.datasets import create_dataset
from vitrail.recipes import load_recipe
from vitrail.registry import KINDS, find_registry

QUICK = (
    "train.iterations=3",
    "train.epochs=null",
    "train.eval_every=3",
    "train.batch_size=2",
    "data.workers=0",
    "data.augment.crop=[64,64]",
    "data.options={size: [64, 96], train: 6, val: 4}",
)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.cli, [str(argument) for argument in arguments])


def ok(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exception is None, result.output + repr(result.exception)
    return result.stdout


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> str:
    """Run the command as the shell does; it must end with status 2 and a message without a traceback."""
    monkeypatch.setattr(sys, "argv", ["vitrail", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "Traceback" not in output.err
    return output.err


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    output = ok("train", "fastscnn_scenes", *QUICK, "-o", folder, "--device", "cpu")
    assert "mIoU" in output
    assert str(folder / "best.safetensors") in output
    return folder


@pytest.fixture(scope="module")
def trained(run_folder: Path) -> Path:
    return run_folder / "last.safetensors"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "scenes"
    size = ["--set", "size=[64, 96]"]
    assert "train: 4 images" in ok("dataset", "scenes", "--write", folder, "--limit", "4", *size)
    return folder


def test_training_leaves_models_and_goes_on(run_folder: Path) -> None:
    assert {"best.safetensors", "last.safetensors", "last.state.pt"} <= {path.name for path in run_folder.iterdir()}
    longer = [value.replace("iterations=3", "iterations=4") for value in QUICK]
    assert "mIoU" in ok("train", "fastscnn_scenes", *longer, "-o", run_folder, "--resume", "--device", "cpu")


def test_one_command_starts_a_run_and_goes_on_with_it(tmp_path: Path) -> None:
    command = ("train", "fastscnn_scenes", *QUICK, "-o", tmp_path, "--resume=auto", "--device", "cpu")
    assert "mIoU" in ok(*command)
    saved = (tmp_path / "last.state.pt").read_bytes()
    assert "mIoU" in ok(*command)  # there is nothing left to train
    assert (tmp_path / "last.state.pt").read_bytes() == saved
    events = [json.loads(line)["event"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert events.count("start") == 1


def test_evaluation_prints_a_table_or_json(trained: Path, tmp_path: Path) -> None:
    classes = create_dataset("scenes", None, "val").benchmark.classes
    table = ok("evaluate", trained)
    assert all(name in table for name in (*classes, "mIoU"))
    data = json.loads(ok("evaluate", trained, "--json", "evaluation.flip=true", "--split", "train"))
    assert [row["name"] for row in data["classes"]] == list(classes)
    report, saved = tmp_path / "report", tmp_path / "saved"
    ok("evaluate", trained, "--report", report, "--worst", "2", "--save-predictions", saved)
    assert (report / "index.html").is_file()
    assert list(saved.rglob("*.png"))


def test_written_scenes_can_be_checked_trained_on_and_predicted(scenes: Path, trained: Path, tmp_path: Path) -> None:
    table = ok("dataset", "folder", "--root", scenes)
    assert "folder train: 4 images, 64×96" in table
    checked = json.loads(ok("dataset", "folder", "--root", scenes, "--split", "val", "--json"))
    (split,) = checked["splits"]
    assert sum(row["pixels"] for row in split["classes"]) + split["ignored"] == 4 * 64 * 96
    assert checked["findings"] == []
    original = create_dataset("scenes", None, "val", size=(64, 96))
    copied = create_dataset("folder", scenes, "val")
    assert copied.benchmark.classes == original.benchmark.classes
    assert torch.equal(copied[0]["mask"], original[0]["mask"])
    assert torch.equal(copied[0]["image"], original[0]["image"])
    evaluation = ["data.dataset=folder", "data.options={}", "--data-root", scenes]
    assert "mIoU" in ok("evaluate", trained, *evaluation)


def test_prediction_writes_pictures(trained: Path, scenes: Path, tmp_path: Path) -> None:
    kinds = ["--kind", "overlay", "--kind", "colour", "--kind", "index"]
    output = ok("predict", trained, scenes / "images" / "val", "-o", tmp_path / "out", *kinds)
    assert "4 images: results are in" in output
    written = list((tmp_path / "out").rglob("*.png"))
    assert len(written) == 12
    masks = [np.asarray(Image.open(path)) for path in written if path.stem.endswith("_index")]
    assert all(mask.shape == (64, 96) for mask in masks)
    records = json.loads(ok("predict", trained, f"{scenes}/images/val/*.png", "-o", tmp_path / "two", "--json"))
    assert sum(area["share"] for area in records[0]["areas"]) == pytest.approx(1)


@pytest.mark.parametrize("pictures", [["images/val/*.png"], ["images/val/*"], ["images/val"], [], ["missing.png"]])
def test_without_a_model_a_shipped_one_predicts(
    pictures: list[str], scenes: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    first, second = sorted((scenes / "images" / "val").glob("*.png"))[:2]
    given = [scenes / name for name in pictures] or [first, second]
    if pictures == ["missing.png"]:
        assert "missing.png" in refused(capsys, monkeypatch, "predict", *given, "-o", tmp_path / "out")
        return
    result = run("predict", *given, "-o", tmp_path / "out", "--kind", "index", "--device", "cpu")
    assert result.exit_code == 0 and f"taking {DEFAULT_MODEL}" in result.output
    written = np.asarray(Image.open(tmp_path / "out" / f"{first.stem}_index.png"))
    assert np.array_equal(written, vitrail.predict(DEFAULT_MODEL, first, device="cpu").mask)


def test_a_model_without_images_is_not_taken_for_an_image(tmp_path: Path, monkeypatch, capsys) -> None:
    for model in (DEFAULT_MODEL, "run/best.safetensors"):
        message = refused(capsys, monkeypatch, "predict", model, "-o", tmp_path / "out")
        assert f"no images are given: vitrail predict {model} IMAGES" in message


def test_what_exists_is_replaced_only_when_asked(
    trained: Path, scenes: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    pictures = ["predict", trained, scenes / "images" / "val", "-o", tmp_path / "out"]
    evaluation = ["evaluate", trained, "data.dataset=folder", "data.options={}", "--data-root", scenes]
    commands = {
        "pictures": pictures,
        "predictions": [*evaluation, "--save-predictions", tmp_path / "masks"],
        "report": [*evaluation, "--report", tmp_path / "report"],
        "converted": ["convert", trained, tmp_path / "copy.safetensors"],
        "dataset": ["dataset", "folder", "--root", scenes, "--report", tmp_path / "page"],
        "compared": ["compare", trained.parent, "--page", tmp_path / "runs.html"],
    }
    for arguments in commands.values():
        ok(*arguments)
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()}
    for name, arguments in commands.items():
        assert "exists" in refused(capsys, monkeypatch, *arguments), name
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()} == before
    for name, arguments in commands.items():
        ok(*arguments, "--overwrite")
        assert any(path.stat().st_ino != number for path, number in before.items()), name
    gone = next((tmp_path / "out").rglob("*.png"))
    gone.unlink()
    output = ok(*pictures, "--skip-existing")
    assert "1 image: results are in" in output and "3 images left out" in output and gone.exists()
    assert "exclude each other" in refused(capsys, monkeypatch, *pictures, "--skip-existing", "--overwrite")


def test_a_broken_image_leaves_the_figures_of_the_others(
    trained: Path, scenes: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    good = sorted((scenes / "images" / "val").iterdir())[0]
    (tmp_path / "broken.png").write_bytes(good.read_bytes()[:200])
    arguments = ["predict", trained, good, tmp_path / "broken.png", "-o", tmp_path / "out", "--json"]
    monkeypatch.setattr(sys, "argv", ["vitrail", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    output = capsys.readouterr()
    assert stop.value.code == 3
    (record,) = json.loads(output.out)
    assert Path(record["files"]["overlay"]).is_file()
    assert "1 of 2 images could not be read" in output.err
    assert "broken.png" in output.err


def test_a_converted_model_is_the_same(trained: Path, tmp_path: Path) -> None:
    assert "parameters" in ok("convert", trained, tmp_path / "copy.safetensors")
    assert (tmp_path / "copy.safetensors").stat().st_size == trained.stat().st_size


def test_lists_can_be_filtered() -> None:
    assert "fastscnn_scenes\n" in ok("recipes")
    assert ok("recipes", "fastscnn_sce*").split() == ["fastscnn_scenes"]
    assert "cgnet_camvid" in ok("recipes", "camvid")
    assert json.loads(ok("recipes", "fastscnn_sce*", "--json")) == ["fastscnn_scenes"]
    assert "PSPNet  ResNet-50  8       voc      77.93" in ok("recipes", "--table1", "pspnet*50*voc")
    assert (
        json.loads(ok("recipes", "--table1", "--json", "setrmla"))[0]["checkpoint"] == "ssseg/setrmla_vitlarge_ade20k"
    )
    assert ok("list", "segmentor", "emanet").startswith("emanet  vitrail 0.1.0  ")
    assert "resnet50c" in ok("list", "backbone", "resnet50c").split()
    assert re.search(r"camvid +vitrail 0.1.0 +CamVid, 11 classes", ok("list", "dataset"))


def test_every_kind_is_listed_with_the_number_of_its_names() -> None:
    counts = json.loads(ok("list", "--json"))
    assert list(counts) == list(KINDS)
    lines = dict(re.split(r"  +", line) for line in ok("list").splitlines())
    assert lines == {kind: f"{number} name{'' if number == 1 else 's'}" for kind, number in counts.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_is_listed_with_its_origin_and_a_line_of_its_own(kind: str) -> None:
    """An entry that wraps a class or function shows what that is, not what the wrapper is."""
    entries = json.loads(ok("list", kind.replace(" ", "-"), "--json"))
    registry = find_registry(kind)
    assert set(registry) <= {entry["name"] for entry in entries}
    own = [entry for entry in entries if entry["origin"].startswith("vitrail ")]
    assert own
    assert all(entry["summary"] for entry in own)
    assert len({entry["summary"] for entry in own}) > len(own) / 2


def test_a_recipe_is_printed_as_one_that_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "printed.yaml"
    path.write_text(ok("recipe", "fastscnn_camvid", "train.batch_size=4", "train.accumulate=2"))
    again = load_recipe(path)
    assert again.train.batch_size == 4
    assert again.model == load_recipe("fastscnn_camvid").model


def test_the_version_is_told() -> None:
    from vitrail import __version__

    assert __version__ in ok("--version")


MISTAKES = [
    (["train", "fastscnn_scene", "-o", "x"], "unknown recipe 'fastscnn_scene'.*fastscnn_scenes"),
    (["train", "fastscnn_scenes", "train.batchsize=8", "-o", "x"], "batchsize.*batch_size"),
    (["train", "fastscnn_scenes", "train.batch_size=many", "-o", "x"], "train.batch_size.*many"),
    (["train", "fastscnn_scenes", "model.segmentor=fastscn", "-o", "x"], "unknown segmentor 'fastscn'.*'fastscnn'"),
    (["train", "fcn_resnet50os8_voc", "--data-root", "nowhere", "-o", "x"], "nowhere does not exist"),
    (["train", "fastscnn_scenes", "--device", "abacus", "-o", "x"], "abacus"),
    (["recipe", "pspnet_resnet50os8_ade20"], "pspnet_resnet50os8_ade20k"),
    (["recipes", "--table1", "pspnett"], "no figure of the table matches.*pspnet"),
    (["recipes", "fastscnn_scennes"], "no recipe matches.*fastscnn_scenes"),
    (["evaluate", "no_such_model"], "unknown model 'no_such_model'"),
    (["evaluate", "missing.safetensors"], "no model file at missing.safetensors"),
    (["predict", "empty.pth", "a.png", "-o", "x"], "empty.pth is empty"),
    (["predict", "text.pth", "a.png", "-o", "x"], "text.pth is not a checkpoint"),
    (["convert", "text.pth", "out.safetensors"], "text.pth is not a checkpoint"),
    (["list", "los"], "unknown kind 'los'.*'loss'.*Kinds: segmentor, "),
    (["list", "loss", "dicee"], "no loss matches 'dicee'.*'dice'"),
    (["dataset", "scenes", "--set", "size=["], "--set 'size=\\[': not valid YAML"),
    (["dataset", "camvod", "--root", "."], "unknown dataset 'camvod'.*'camvid'"),
    (["dataset", "scenes", "--set", "size"], "KEY=VALUE"),
    (["dataset", "scenes", "--write", "."], "not an empty folder"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[" ".join(a[:3]) for a, _ in MISTAKES])
def test_mistakes_end_with_one_message_and_status_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.pth").write_text("not a checkpoint at all")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    assert re.search(message, refused(capsys, monkeypatch, *arguments), re.DOTALL)
    assert not list(tmp_path.glob("x/*"))


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'trace'}",)

    torch.save({"state_dict": Payload()}, tmp_path / "evil.pth")
    for verb in (["evaluate", tmp_path / "evil.pth"], ["convert", tmp_path / "evil.pth", tmp_path / "o.safetensors"]):
        assert "would run code" in refused(capsys, monkeypatch, *verb)
    assert not (tmp_path / "trace").exists()


def test_a_folder_is_recognised_and_converted_there_and_back(scenes: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    said = ok("dataset", "inspect", scenes)
    assert re.search(f"vitrail train \\S+.* --data-root {re.escape(str(scenes))}", said), said
    coco, back = tmp_path / "coco", tmp_path / "back"
    assert f"val: 4 images are in {coco}" in ok("dataset", "convert", scenes, coco)
    assert "coco" in ok("dataset", "inspect", coco)
    assert f"val: 4 images are in {back}" in ok("dataset", "convert", coco, back)
    first, last = (create_dataset("folder", root, "val") for root in (scenes, back))
    for one, other in zip(first, last, strict=True):
        names = [
            [d.benchmark.classes[i] for i in s["mask"].unique() if i < 255] for d, s in ((first, one), (last, other))
        ]
        assert torch.equal(one["image"], other["image"]) and names[0] == names[1]
    assert "is not an empty folder" in refused(capsys, monkeypatch, "dataset", "convert", scenes, coco)
    assert "nowhere" in refused(capsys, monkeypatch, "dataset", "inspect", tmp_path / "nowhere")


def test_what_is_wrong_with_a_dataset_is_listed(scenes: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(scenes, copy)
    broken = sorted((copy / "images" / "val").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:200])
    monkeypatch.setattr(sys, "argv", ["vitrail", "dataset", "folder", "--root", str(copy), "--split", "val"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    output = capsys.readouterr()
    assert stop.value.code == 2
    assert "folder val: 4 images" in output.out
    assert "1 image of the split 'val' cannot be used" in output.err
    assert broken.name in output.err


def test_a_path_that_cannot_be_asked_for_is_said(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def closed(*_: object) -> None:  # as `Path.is_file` does in a folder that is not to be read
        raise PermissionError(errno.EACCES, "Permission denied", "closed/model.safetensors")

    monkeypatch.setattr("vitrail.recipes.list_recipes", closed)
    message = refused(capsys, monkeypatch, "recipes")
    assert message == "vitrail: cannot use closed/model.safetensors: Permission denied\n"


@pytest.mark.parametrize("problem", [ZeroDivisionError(), OSError(errno.ENOSPC, "No space left on device", "x")])
def test_bugs_keep_their_traceback(problem: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise problem

    monkeypatch.setattr("vitrail.recipes.list_recipes", broken)
    monkeypatch.setattr(sys, "argv", ["vitrail", "recipes"])
    with pytest.raises(type(problem)):
        cli.main()


@pytest.mark.nightly  # `tests/training/test_distributed_train.py` has two processes train
def test_two_processes_train_under_torchrun(tmp_path: Path) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "vitrail", "train"]
    settings = [*QUICK, "train.batch_size=4", "train.iterations=2", "train.eval_every=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, *command, "fastscnn_scenes", *settings, "-o", tmp_path / "run", "--device", "cpu"],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("mIoU") == 1
    assert (tmp_path / "run" / "last.safetensors").is_file()
