"""What the recipe in a model file decides, and what it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vitrail.errors import RecipeError
from vitrail.recipes import load_recipe, model_file_recipe


def carried(**changes: Any) -> dict[str, Any]:
    """The recipe of a model file with other values under "section.key"."""
    recipe = load_recipe("fastscnn_scenes").model_dump(mode="json")
    for path, value in changes.items():
        section, _, key = path.partition("__")
        recipe[section][key] = value
    return recipe


def test_a_file_does_not_say_where_data_are_nor_how_many_processes_load_them() -> None:
    given = carried(
        data__root="/etc",
        data__workers=64,
        train__start_from="/x.pth",
        train__teacher="/x.pth",
        model__pretrained="/x.pth",
    )
    recipe = model_file_recipe(given, "the file")
    assert (recipe.data.root, recipe.train.start_from, recipe.train.teacher) == (None, None, None)
    assert recipe.model.pretrained is False
    assert recipe.data.workers == 2
    assert model_file_recipe(given, "the file", ["data.workers=5"]).data.workers == 5


def test_a_file_does_not_say_which_vocabulary_is_read() -> None:
    given = load_recipe("oneformer_resnet18os32_camvid").model_dump(mode="json")
    given["model"]["options"]["vocabulary"] = "/etc/passwd"
    options = model_file_recipe(given, "the file").model.options
    assert "vocabulary" not in options and options["channels"] == 96


@pytest.mark.parametrize("name", ["../..", "/etc", "C:\\x", "..\\x", "http://127.0.0.1/x", "~/x", "a/../../b"])
def test_options_of_the_dataset_stay_in_its_folder(name: str) -> None:
    with pytest.raises(RecipeError, match="leads out of the dataset's folder"):
        model_file_recipe(carried(data__dataset="folder", data__options={"images": name}), "the file")
    kept = model_file_recipe(carried(data__dataset="folder", data__options={"images": "a/b.c"}), "the file")
    assert kept.data.options == {"images": "a/b.c"}


@pytest.mark.parametrize(
    "change",
    [
        {"data__options": {"val": 10**9}},
        {"data__options": {"size": [10**6, 10]}},
        {"data__eval_resize": {"size": [60_000, 60_000]}},
        {"evaluation__scales": [50.0]},
        {"evaluation__batch_size": 10**6},
        {"evaluation__mode": "slide", "evaluation__window": [512, 512], "evaluation__stride": [256, 8]},
        {"evaluation__mode": "slide", "evaluation__window": [8, 8], "evaluation__stride": [8, 8]},
    ],
)
def test_sizes_and_counts_are_bounded(change: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"(more|less) than the .* that a model file may ask for"):
        model_file_recipe(carried(**change), "the file")


def test_bases_that_multiply_are_refused(tmp_path: Path) -> None:
    (tmp_path / "0.yaml").write_text("base: fastscnn_scenes\n")
    for index in range(1, 12):
        (tmp_path / f"{index}.yaml").write_text("base: [" + ", ".join([f"{index - 1}.yaml"] * 10) + "]\n")
    assert load_recipe(tmp_path / "1.yaml").model.segmentor == "fastscnn"
    with pytest.raises(RecipeError, match="more than 1,000 files"):
        load_recipe(tmp_path / "11.yaml")
