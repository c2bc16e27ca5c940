"""Grids: what a table of results stands for."""

from __future__ import annotations

from typing import Any

import pytest

from vitrail.errors import RecipeError
from vitrail.recipes.grids import shipped_parts

GRID: dict[str, Any] = {
    "name": "net_{backbone}_x_{dataset}",
    "base": ["schedules/a", "backbones/{backbone}", "datasets/{dataset}"],
    "model": {"backbone": "{backbone}.in1k", "options": {"channels": 3}},
    "source": "a paper",
    "miou": {"big_one": {"ade_2": 0.5, "voc": None}, "small": {"voc": 0.25}},
}


def test_a_grid_stands_for_a_recipe_for_every_result() -> None:
    parts = shipped_parts({"grids": [GRID]}, "file")
    assert list(parts) == ["net_bigone_x_ade2", "net_bigone_x_voc", "net_small_x_voc"]
    (part,) = parts["net_bigone_x_ade2"]
    assert part.place == ("grids", 0)
    assert part.values == {
        "base": ["schedules/a", "backbones/big_one", "datasets/ade_2"],
        "model": {"backbone": "big_one.in1k", "options": {"channels": 3}},
        "reference": {"miou": 0.5, "source": "a paper"},
    }
    (part,) = parts["net_bigone_x_voc"]
    assert part.values["reference"] == {"source": "a paper"}, "no result was published"


def test_a_single_recipe_of_the_same_name_adds_to_that_of_the_grid() -> None:
    document = {"grids": [GRID], "recipes": {"net_small_x_voc": {"train": {"epochs": 3}}, "net_other": None}}
    parts = shipped_parts(document, "file")
    first, second = parts["net_small_x_voc"]
    assert first.values["reference"]["miou"] == 0.25
    assert (second.place, second.values) == (("recipes", "net_small_x_voc"), {"train": {"epochs": 3}})
    assert [part.values for part in parts["net_other"]] == [{}]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"grids": [GRID, GRID]}, "grids.1 makes the recipe 'net_bigone_x_ade2', which another one makes too"),
        ({"grids": [GRID], "recipes": {"net_small_x_voc": {"base": "x"}}}, "net_small_x_voc has a base of its own"),
        ({"grids": [GRID | {"mdice": {}}]}, "grids.0: a grid needs name, source, and either miou or mdice"),
        ({"grids": [{"name": "x", "miou": {}}]}, "grids.0: a grid needs name, source, and either miou or mdice"),
    ],
)
def test_mistakes_in_a_grid(document: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        shipped_parts(document, "file")
