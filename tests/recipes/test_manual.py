"""The examples in the manual's page on recipes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from vitrail.errors import RecipeError
from vitrail.files.yaml_file import parse_yaml
from vitrail.layers.skip_init import shapes_only
from vitrail.optim import create_optimizer
from vitrail.recipes import Recipe, list_mmseg_recipes, list_recipes, load_recipe
from vitrail.recipes.grids import shipped_parts
from vitrail.segmentors import build_model

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
FILES = dict(re.findall(r"```yaml\n# (\S+\.yaml)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
COMMANDS = re.findall(r"^\$ vitrail train (.+?) -o ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_files_are_complete_recipes_that_build(name: str) -> None:
    recipe = load_recipe(name, ["model.pretrained=false"])
    assert (recipe.data.dataset, recipe.data.root) == ("folder", "bees")
    with shapes_only():
        model = build_model(recipe.model, 3)
    create_optimizer(model, recipe.optimizer)


def test_what_the_text_says_about_the_files() -> None:
    second: Recipe = load_recipe("bees-pspnet.yaml")
    assert (second.train.epochs, second.train.iterations, second.train.eval_every) == (None, 8000, 500)
    assert second.model.pretrained is True
    assert second.data.augment.rotate == 0.5
    assert len(load_recipe("bees-rules.yaml").optimizer.rules) == 3


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_name_recipes_and_keys_that_exist(command: str) -> None:
    name, *overrides = shlex.split(command)
    assert name in FILES or name in list_recipes() + list_mmseg_recipes()
    assert load_recipe(name, overrides) != load_recipe(name) or not overrides


def test_the_grid_stands_for_what_the_text_says() -> None:
    (text,) = re.findall(r"```yml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    parts = shipped_parts(parse_yaml(text, "recipes.md", RecipeError).data, "recipes.md")
    assert list(parts) == ["upernet_swintiny_ade20k", "upernet_swinsmall_ade20k"]
    grid, single = parts["upernet_swinsmall_ade20k"]
    assert grid.values["base"] == ["schedules/adamw", "backbones/swin_small", "datasets/ade20k"]
    assert grid.values["reference"] == {"miou": 0.4839, "source": "SSSegmentation"}
    assert single.values == {"train": {"batch_size": 8}}


def test_the_message_is_the_one_in_the_text() -> None:
    (message,) = re.findall(r"^Error: (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        load_recipe("bees.yaml", ["model.losses.0.name=focall"])


def test_every_example_is_found() -> None:
    assert len(FILES) == PAGE.read_text(encoding="utf-8").count("```yaml") == 3
    assert len(COMMANDS) == 5
