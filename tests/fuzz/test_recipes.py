"""Recipes, overrides and class files of any content: a result or a VitrailError."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from helpers.hostile import DURATIONS, altered, check_outcomes, damaged, damaged_text, odd_values
from helpers.image_makers import make_folder
from hypothesis import strategies as st

from vitrail.datasets import create_dataset
from vitrail.errors import RecipeError
from vitrail.files.yaml_file import dump_yaml, parse_yaml
from vitrail.recipes import dump_recipe, load_recipe, model_file_recipe

RECIPE = load_recipe("fastscnn_scenes")
TEXT = dump_recipe(RECIPE)
PLAIN = parse_yaml(TEXT, "x", RecipeError).data
CLASSES = "classes: [a, b, c]\npalette: [[0, 0, 0], '#ff0000', [0, 0, 255]]\nvalues: [0, 1, 2]\nignore: [7]\n"


def as_yaml(data: Any) -> str:
    """YAML of any plain data: aliases, tags of Python and odd keys included."""
    return yaml.dump(data, sort_keys=False, allow_unicode=False)


def short(data: Any) -> Any:
    """A recipe that builds on a published one, with only those sections that were changed."""
    if not isinstance(data, dict):
        return data
    return {"base": "fastscnn_scenes", **{key: value for key, value in data.items() if value != PLAIN.get(key)}}


@DURATIONS
def test_recipe_files(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "x.yaml"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        recipe = load_recipe(path)
        path.write_text(dump_recipe(recipe), encoding="utf-8")
        assert load_recipe(path).model_copy(update={"name": ""}) == recipe.model_copy(update={"name": ""})

    changed = altered(PLAIN).map(short).map(as_yaml).map(str.encode)
    texts = damaged_text("base: fastscnn_scenes\ntrain: {batch_size: 8}\nmodel: &m {options: {channels: 16}}\n")
    examples = changed | texts.map(lambda text: text.encode("utf-8", "surrogatepass")) | damaged(TEXT[:400].encode())
    check_outcomes(examples, read, count=40, seconds=seconds)


@DURATIONS
def test_recipes_in_model_files(seconds: float) -> None:
    def read(data: Any) -> None:
        if isinstance(data, dict):
            dump_recipe(model_file_recipe(data, "a file"))

    check_outcomes(altered(RECIPE.model_dump(mode="json"), json=True), read, count=120, seconds=seconds)


@DURATIONS
def test_overrides(seconds: float) -> None:
    keys = ["train.batch_size", "model.options.channels", "model.losses.0.weight", "data.augment.crop", "data.mean"]
    key = st.sampled_from([*keys, "model.auxiliary.losses.0.options.x", "schedule.warmup", "train.loggers", "imports"])
    value = odd_values().map(lambda data: yaml.dump(data, default_flow_style=True)) | st.text(max_size=12)
    written = st.tuples(key | st.text(alphabet="abc.019²٥-", max_size=12), value).map("=".join)
    examples = st.lists(written | written.flatmap(damaged_text), min_size=1, max_size=3)
    check_outcomes(examples, lambda given: dump_recipe(load_recipe(RECIPE.name, given)), count=80, seconds=seconds)


@DURATIONS
def test_class_files(tmp_path: Path, seconds: float) -> None:
    make_folder(tmp_path, names=("a", "b"))

    def read(content: bytes) -> None:
        (tmp_path / "classes.yaml").write_bytes(content)
        create_dataset("folder", tmp_path, "all")[0]

    described = altered(parse_yaml(CLASSES, "x", RecipeError).data).map(as_yaml).map(str.encode)
    texts = damaged_text(CLASSES).map(lambda text: text.encode("utf-8", "surrogatepass"))
    check_outcomes(described | texts | damaged(CLASSES.encode()), read, count=120, seconds=seconds)


@DURATIONS
def test_yaml_documents(seconds: float) -> None:
    """What is read can be written, and is the same when it is read again."""

    def read(text: str) -> None:
        data = parse_yaml(text, "x", RecipeError).data
        assert repr(parse_yaml(dump_yaml(data), "x", RecipeError).data) == repr(data)

    text = "a: &x [1, -2.5e3, 'b']\nc:\n  - *x\n  - {d: ~, e: .inf}\n'f': |\n  text\n  more\n"
    check_outcomes(damaged_text(text) | odd_values().map(as_yaml), read, count=300, seconds=seconds)
