"""The table of SSSegmentation's paper: its figures, and the recipes and checkpoints that reach them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from vitrail.checkpoints.table1 import PublishedFigure, figures_table, table1
from vitrail.recipes import load_recipe

COLUMNS = {"ade20k": "ade20k_train_val", "voc": "voc_train_test", "cityscapes": "cityscapes_train_val"}
# Figures that differ between the paper and the table beside the checkpoints.
NEWER = {
    "ocrnet_hrnetv2w48_ade20k",
    "ocrnet_hrnetv2w48_voc",
    "ocrnet_hrnetv2w48_cityscapes",
    "upernet_beitbase_ade20k",
    "setrnaive_vitlarge_ade20k",
    "setrpup_vitlarge_ade20k",
    "setrmla_vitlarge_ade20k",
    "mcibiplusplus_upernet_resnet101os8_ade20k",
}


def test_every_figure_is_that_of_the_paper(reference_data: Path) -> None:
    with (reference_data / "table1.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = [
        (row["method"], row["backbone"], int(row["stride"].rstrip("×")), dataset, float(row[column]))
        for row in rows
        for dataset, column in COLUMNS.items()
        if row[column]
    ]
    ours = [(x.method, x.backbone, x.output_stride, x.dataset, round(100 * x.miou, 2)) for x in table1()]
    assert ours == expected and len(rows) == 66


@pytest.fixture(scope="module")
def figures() -> list[PublishedFigure]:
    return table1()


def test_every_row_is_reached_by_a_recipe_and_a_checkpoint(figures: list[PublishedFigure]) -> None:
    assert [x.name for x in figures if x.missing or x.recipe is None or x.checkpoint is None] == []
    assert len({x.name for x in figures}) == len(figures)


def test_the_recipes_are_those_of_the_figures(figures: list[PublishedFigure]) -> None:
    for figure in figures:
        recipe = load_recipe(figure.name)
        assert recipe.data.dataset == figure.dataset and recipe.reference is not None
        if figure.name not in NEWER:
            assert recipe.reference.miou == pytest.approx(figure.miou, abs=1e-9), figure.name
        else:
            assert recipe.reference.miou != pytest.approx(figure.miou, abs=1e-9), figure.name


def test_what_is_missing_is_said() -> None:
    figure = PublishedFigure("x_y_voc", "X", "Y", 8, "voc", 0.5, None, None, None, "no recipe yet")
    lines = figures_table([figure]).splitlines()
    assert lines[1].split() == ["X", "Y", "8", "voc", "50.00", "not", "yet", "not", "yet:", "no", "recipe", "yet"]
    assert lines[-1] == "1 figures of 1 models; 0 of them have recipes and checkpoints"
