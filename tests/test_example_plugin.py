"""The package in `examples/plugin`, installed as a user would, joins everywhere; the manual's page can be followed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.processes import execute, in_own_process
from helpers.versions import needs_export
from PIL import Image

import vitrail
from vitrail.errors import VitrailError
from vitrail.registry import KINDS

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "plugin"
PAGE = ROOT / "docs" / "plugins.md"

pytestmark = pytest.mark.slow


def install(package: Path, target: Path) -> Path:
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", target, package]
    subprocess.run(command, capture_output=True, check=True)
    return target


def run(program: str, *arguments: str | Path, path: Path, cwd: Path) -> str:
    """Run a program in a process of its own, with a folder in front of Python's path; return what it printed."""
    done = in_own_process(execute, program, *map(str, arguments), path=path, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def vitrail_command(*arguments: str | Path, path: Path, cwd: Path) -> str:
    """Run the command `vitrail`."""
    return run("from vitrail.cli import main; main()", *arguments, path=path, cwd=cwd)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that the example is installed to."""
    return install(EXAMPLE, tmp_path_factory.mktemp("installed") / "site")


@pytest.fixture(scope="module")
def trained(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    output = vitrail_command("train", EXAMPLE / "example.yaml", "-o", folder, path=site, cwd=folder)
    assert "disc" in output
    return folder


def test_one_of_every_kind_is_listed_with_its_distribution(site: Path, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom vitrail.cli import cli\n"
        "for kind in sys.argv[1:]: cli(['list', kind, 'example_*', '--json'], standalone_mode=False)"
    )
    output = run(script, *KINDS, path=site, cwd=tmp_path)
    lists = [json.loads(part) for part in re.findall(r"^\[.*?^\]", output, re.DOTALL | re.MULTILINE)]
    assert len(lists) == len(KINDS)
    for kind, entries in zip(KINDS, lists, strict=True):
        assert [entry["origin"] for entry in entries] == ["vitrail-example-plugin 1.0.0"], kind
        assert entries[0]["summary"], kind


def test_its_parts_are_what_training_used(trained: Path) -> None:
    lines = (trained / "losses.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["10", "20", "30", "40"]
    assert float(lines[-1].partition(",")[2]) < float(lines[0].partition(",")[2])
    rates = [record["lr"] for record in _records(trained) if record["event"] == "train"]
    assert rates[0] == pytest.approx(0.002)
    assert rates[-1] < 0.001


def _records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


EVALUATE_PREDICT_EXPORT = """
import sys
from vitrail.cli import cli

for command in (
    ["evaluate", sys.argv[1], "--json"],
    ["predict", sys.argv[1], "images.npy-stack", "-o", "out", "--kind", "index"],
    ["export", sys.argv[1], "model.example.zip"],
):
    cli(command, standalone_mode=False)
    print("\\0")
"""


@needs_export
def test_its_model_is_evaluated_predicts_with_its_frame_source_and_is_exported(
    trained: Path, site: Path, tmp_path: Path
) -> None:
    model = trained / "best.safetensors"
    with (tmp_path / "images.npy-stack").open("wb") as file:
        np.save(file, np.random.default_rng(0).integers(0, 255, (3, 40, 48, 3), dtype=np.uint8))
    output = run(EVALUATE_PREDICT_EXPORT, model, path=site, cwd=tmp_path)
    evaluated, _, exported, _ = output.split("\0")
    evaluation = json.loads(evaluated)
    assert [row["name"] for row in evaluation["classes"]] == ["background", "disc"]
    assert evaluation["miou"] > 0.5
    pictures = sorted((tmp_path / "out").rglob("*.png"))
    assert [np.asarray(Image.open(picture)).shape for picture in pictures] == [(40, 48)] * 3
    assert "model.example.zip agrees with the model" in exported
    with zipfile.ZipFile(tmp_path / "model.example.zip") as archive:
        assert json.loads(archive.read("about.json"))["card"]["recipe"]["model"]["segmentor"] == "example_sum"


CONVERT = """
import sys, torch, vitrail
from vitrail.cli import cli

model = vitrail.load(sys.argv[1])
theirs = {"backbone.": "encoder.", "head.projections.": "decoder.project.", "head.classifier.": "decoder.classify."}
weights = {}
for name, value in model.state_dict().items():
    ours = next(prefix for prefix in theirs if name.startswith(prefix))
    weights[theirs[ours] + name.removeprefix(ours)] = value
torch.save({"state_dict": weights, "example_project": {"channels": 16, "width": 8}}, "theirs.pth")
cli(["convert", "theirs.pth", "ours.safetensors"], standalone_mode=False)
image = torch.rand(1, 3, 64, 64)
print((vitrail.load("ours.safetensors")(image) - model(image)).abs().max().item())
"""


def test_a_checkpoint_of_its_project_is_converted(trained: Path, site: Path, tmp_path: Path) -> None:
    output = run(CONVERT, trained / "best.safetensors", path=site, cwd=tmp_path)
    assert float(output.splitlines()[-1]) == 0


def test_without_the_package_its_model_file_says_what_it_needs(trained: Path, site: Path, tmp_path: Path) -> None:
    model = trained / "best.safetensors"
    with pytest.raises(VitrailError, match="needs the module 'example_plugin'"):
        vitrail.load(model)  # this process does not have it
    trust = "import sys, vitrail; print(vitrail.load(sys.argv[1], trust_imports=True).card.imports)"
    (tmp_path / "example_plugin").symlink_to(site / "example_plugin")  # on the path, but not installed
    assert "example_plugin" in run(trust, model, path=tmp_path, cwd=tmp_path)


def test_the_page_of_the_manual_can_be_followed_literally(tmp_path: Path) -> None:
    """Make the files of the page, install the package, and run the page's commands."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for language, text in blocks:
        name = re.match(r"# ([\w/]+\.\w+)\n", text)
        if name is not None:
            file = tmp_path / name[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert name or language == "console" or "trust_imports" in text
    assert {path.name for path in tmp_path.iterdir()} == {"my_package", "pyproject.toml", "mine.yaml"}
    commands = [line for language, text in blocks if language == "console" for line in text.splitlines()]
    expected = commands[commands.index("$ vitrail list loss smoothed") + 1]
    site = install(tmp_path, tmp_path / "site")
    listed = vitrail_command("list", "loss", "smoothed", path=site, cwd=tmp_path)
    assert listed == f"{expected}\n"

    quick = ["train.iterations=2", "train.epochs=null", "train.eval_every=2", "train.batch_size=2", "data.workers=0"]
    small = [*quick, "data.augment.crop=[64,64]", "data.options={size: [64, 96], train: 4, val: 2}"]
    assert "$ PYTHONPATH=. vitrail train mine.yaml -o runs/mine" in commands
    vitrail_command("train", "mine.yaml", *small, "-o", "runs/mine", path=tmp_path, cwd=tmp_path)
    model = tmp_path / "runs" / "mine" / "best.safetensors"
    assert "$ PYTHONPATH=. vitrail evaluate runs/mine/best.safetensors --trust-imports" in commands
    with pytest.raises(VitrailError, match=r"needs the module 'my_package'.*--trust-imports"):
        vitrail.evaluate(model)
    vitrail_command("evaluate", model, "--trust-imports", path=tmp_path, cwd=tmp_path.parent)


def test_every_row_of_the_table_names_a_decorator_and_the_file_that_uses_it() -> None:
    table = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]* \| `(register_\w+)`[^|]* \| `([\w.]+)` \|$", table, re.MULTILINE)
    assert len(rows) == len(KINDS)
    for decorator, file in rows:
        assert decorator in vitrail.__all__
        text = (EXAMPLE / "example_plugin" / file).read_text(encoding="utf-8")
        assert re.search(rf"^@{decorator}\(", text, re.MULTILINE), file
        assert len(text.splitlines()) < 70, file
