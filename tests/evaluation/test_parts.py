"""Evaluations in parts: added up, they are the evaluation of all images."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.evaluation_models import CLASSES, PALETTE, small_model
from PIL import Image

import vitrail
from vitrail.checkpoints import save_model
from vitrail.cli.evaluate import evaluate as command
from vitrail.errors import VitrailError
from vitrail.evaluation import Evaluation, merge_evaluations
from vitrail.inference import Shard
from vitrail.recipes import DataConfig, EvalConfig, ModelConfig, Recipe, TrainConfig
from vitrail.segmentors import ModelCard, create_model

RECIPE = Recipe(
    name="small",
    model=ModelConfig(segmentor="fcn"),
    data=DataConfig(dataset="folder", eval_split="all", mean=(120, 110, 100), std=(50, 55, 60), workers=0),
    train=TrainConfig(epochs=1),
    evaluation=EvalConfig(batch_size=2, boundary_iou=True, calibration=True),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images of two sizes; the mask of one is ignored throughout, so that its score is nan."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for index in range(8):
        size = (32, 40) if index % 3 else (33, 47)
        for kind, high, more in (("images", 256, (3,)), ("masks", len(CLASSES), ())):
            (folder / kind).mkdir(exist_ok=True)
            values = generator.integers(high, size=(*size, *more)).astype(np.uint8)
            if kind == "masks" and index == 4:
                values[:] = 255
            Image.fromarray(values).save(folder / kind / f"{index}.png")
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    return folder


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://bucket/parts"
    fsspec.filesystem("memory").store.clear()
    fsspec.filesystem("memory").pseudo_dirs[:] = [""]


def run(root: Path, **options: Any) -> Evaluation:
    options = {"recipe": RECIPE, **options}
    return vitrail.evaluate(small_model(), data_root=root, device="cpu", **options)


def without_time(evaluation: Evaluation) -> dict[str, Any]:
    return {**evaluation.to_dict(images=True), "images_per_second": None}


@pytest.mark.parametrize("count", [1, 3, 11])
def test_all_parts_give_the_figures_of_one_run(root: Path, tmp_path: Path, count: int) -> None:
    whole = run(root, save_predictions=tmp_path / "whole")
    for index in reversed(range(count)):
        part = run(root, shard=Shard(index, count), parts=tmp_path / "parts", save_predictions=tmp_path / "masks")
        assert part.images == len(range(index, 8, count))
    merged = merge_evaluations(tmp_path / "parts")
    assert without_time(merged) == without_time(whole)
    assert torch.equal(merged.confusion, whole.confusion) and torch.equal(merged.boundary, whole.boundary)
    assert merged.calibration == whole.calibration and merged.palette == whole.palette
    assert merged.table().splitlines()[:-1] == whole.table().splitlines()[:-1]
    assert math.isnan(merged.scores[4].miou) and [score.id for score in merged.scores] == list("01234567")
    for name in "01234567":
        assert (tmp_path / "masks" / f"{name}.png").read_bytes() == (tmp_path / "whole" / f"{name}.png").read_bytes()


def test_counts_lie_in_object_storage(root: Path, memory: str) -> None:
    for index in range(2):
        run(root, shard=Shard(index, 2), parts=memory)
    assert without_time(merge_evaluations(memory)) == without_time(run(root))
    with pytest.raises(VitrailError, match=r"memory://bucket/parts/part-00001-of-00002\.json exists: --overwrite"):
        run(root, shard=Shard(1, 2), parts=memory)
    run(root, shard=Shard(1, 2), parts=memory, overwrite=True)


def test_parts_that_do_not_belong_together_are_refused(root: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    with pytest.raises(VitrailError, match=r"no part of an evaluation in .*--shard I/N --parts"):
        merge_evaluations(parts)
    run(root, shard=Shard(1, 3), parts=parts)
    with pytest.raises(VitrailError, match=r"2 of 3 parts are missing in .*: evaluate --shard 0/3, 2/3"):
        merge_evaluations(parts)
    run(root, shard=Shard(0, 3), parts=parts)
    for change, key in (({"overrides": ["evaluation.flip=true"]}, "settings"), ({"amp": "bfloat16"}, "settings")):
        run(root, shard=Shard(2, 3), parts=parts, overwrite=True, **change)
        with pytest.raises(VitrailError, match=rf"part-00002-of-00003\.json is of another evaluation .*{key} differs"):
            merge_evaluations(parts)
    other = small_model()
    with torch.no_grad():
        next(other.parameters()).mul_(2)
    vitrail.evaluate(other, recipe=RECIPE, data_root=root, device="cpu", shard=Shard(2, 3), parts=parts, overwrite=True)
    with pytest.raises(VitrailError, match="model differs"):
        merge_evaluations(parts)
    run(root, shard=Shard(0, 2), parts=parts)
    with pytest.raises(VitrailError, match="parts of 2 and 3: remove"):
        merge_evaluations(parts)


def test_a_damaged_part_is_named(root: Path, tmp_path: Path) -> None:
    run(root, shard=Shard(0, 1), parts=tmp_path)
    (file,) = tmp_path.iterdir()
    content = json.loads(file.read_text())
    for key, value in (
        *itertools.product(("confusion", "boundary", "calibration"), ([[1]], 7, [["a"]], [[2**70] * 4] * 4)),
        ("scores", content["scores"][:-1]),
        ("scores", [{}]),
        ("classes", None),
        ("about", []),
        ("confusion", [[-1] * 4] * 4),
        ("confusion", [[1.5] * 4] * 4),
        ("confusion", [[True] * 4] * 4),
        ("palette", []),
        ("seconds", -1),
        ("seconds", math.nan),
    ):
        file.write_text(json.dumps({**content, key: value}))
        with pytest.raises(VitrailError, match=r"part-00000-of-00001\.json is no part of an evaluation, or damaged"):
            merge_evaluations(tmp_path)
    file.write_text(json.dumps(content)[:-20])
    with pytest.raises(VitrailError, match="or damaged"):
        merge_evaluations(tmp_path)


def test_a_part_under_the_name_of_another_is_refused(root: Path, tmp_path: Path) -> None:
    for index in range(2):
        run(root, shard=Shard(index, 2), parts=tmp_path)
    first, second = sorted(tmp_path.iterdir())
    second.write_bytes(first.read_bytes())
    with pytest.raises(VitrailError, match=r"part-00001-of-00002\.json .*another part than its name says"):
        merge_evaluations(tmp_path)


def test_parts_with_other_tables_and_sums_that_overflow_are_refused(root: Path, tmp_path: Path) -> None:
    for index in range(2):
        run(root, shard=Shard(index, 2), parts=tmp_path)
    file = min(tmp_path.iterdir())
    content = json.loads(file.read_text())
    for change, message in (
        ({"boundary": None}, "boundary IoU differs"),
        ({"calibration": None}, "calibration differs"),
        ({"threshold": 0.3}, "threshold differs"),
        ({"about": {"images": content["about"]["images"]}}, "model differs"),
        ({"confusion": [[2**62] * 4] * 4}, "more pixels than int64 holds"),
    ):
        file.write_text(json.dumps({**content, **change}))
        with pytest.raises(VitrailError, match=message):
            merge_evaluations(tmp_path)


def test_a_name_that_says_a_huge_number_of_parts_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "part-00000-of-999999999.json").write_text("{}")
    with pytest.raises(VitrailError, match=r"999999998 of 999999999 parts are missing .* and 999999993 more"):
        merge_evaluations(tmp_path)


@pytest.mark.parametrize("option", [["--device", "cpu"], ["--amp", "none"], ["--worst", "20"], ["--trust-imports"]])
def test_merging_takes_no_option_of_an_evaluation(option: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["--merge", str(tmp_path), *option])
    assert "goes with --json only" in str(result.exception)


def test_what_needs_all_images_is_refused(root: Path, tmp_path: Path) -> None:
    for options, message in (
        ({"shard": Shard(0, 2)}, "go together"),
        ({"parts": tmp_path}, "go together"),
        ({"shard": Shard(0, 2), "parts": tmp_path, "report": tmp_path / "r"}, "are of all images"),
        (
            {"shard": Shard(0, 2), "parts": tmp_path, "overrides": ["evaluation.threshold=auto"]},
            "is found on all images",
        ),
    ):
        with pytest.raises(VitrailError, match=message):
            run(root, **options)


def test_the_command(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    recipe = {**RECIPE.model_dump(mode="json"), "model": {"segmentor": "fastscnn"}}
    save_model(create_model("fastscnn", None, len(CLASSES), card=ModelCard(CLASSES, PALETTE, recipe=recipe)), file)

    def call(*arguments: object) -> str:
        result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    given = (file, "--data-root", root, "--device", "cpu")
    for index in range(2):
        said = call(*given, "--shard", f"{index}/2", "--parts", tmp_path / "parts")
        assert said == f"part {index}/2: the counts of 4 images are in {tmp_path / 'parts'}\n"
    merged, whole = (
        json.loads(text) for text in (call("--merge", tmp_path / "parts", "--json"), call(*given, "--json"))
    )
    assert {**merged, "images_per_second": 0} == {**whole, "images_per_second": 0}
    assert "mIoU" in call("--merge", tmp_path / "parts")
    for arguments, message in (
        ((), "give a MODEL"),
        ((file, "--merge", tmp_path / "parts"), "--json only"),
        ((*given, "--shard", "2/2", "--parts", tmp_path), "there is no shard 2/2"),
    ):
        with pytest.raises(VitrailError, match=message):
            call(*arguments)
