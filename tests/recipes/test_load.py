"""Loading: composition, overrides, and what a user is told about mistakes."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from vitrail.errors import RecipeError
from vitrail.recipes import Recipe, dump_recipe, list_recipes, load_recipe, override_recipe, recipe_from_dict
from vitrail.recipes.compose import FRAGMENTS, shipped_fragments, shipped_recipes

BASE = "pspnet_resnet50os8_ade20k"
MINIMAL = {"model": {"segmentor": "fcn"}, "data": {"dataset": "camvid"}, "train": {"epochs": 1}}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", list_recipes())
def test_every_shipped_recipe_loads_and_survives_yaml(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    again = load_recipe(write(tmp_path, "other.yaml", dump_recipe(recipe)))
    assert again == recipe
    assert dump_recipe(again) == dump_recipe(recipe)
    assert recipe_from_dict(recipe.model_dump(mode="json")) == recipe


def test_listing_parses_every_file_and_is_fast() -> None:
    shipped_recipes.cache_clear()
    start = time.perf_counter()
    listed = list_recipes()
    assert time.perf_counter() - start < 0.2
    assert "pspnet_resnet50os8_ade20k" in listed, "written in a grid"
    assert "fastscnn_camvid" in listed, "written singly"
    assert listed == sorted(listed)


def test_every_shipped_fragment_is_used() -> None:
    fragments = [path.read_text() for path in FRAGMENTS.rglob("*.yaml")]
    bases = [part.values.get("base", []) for recipe in shipped_recipes().values() for part in recipe.parts]
    used = {name for base in bases for name in ([base] if isinstance(base, str) else base)}
    used |= {name for text in fragments for name in re.findall(r"^base: (\S+)$", text, re.MULTILINE)}
    assert [name for name in shipped_fragments() if name not in used] == []


def test_a_file_builds_on_recipes_fragments_and_other_files(tmp_path: Path) -> None:
    write(tmp_path, "fast.yaml", "train: {batch_size: 2, seed: 7}\nmodel: {options: {dropout: 0.2}}")
    mine = write(
        tmp_path,
        "mine.yaml",
        f"base: [{BASE}, datasets/camvid, fast.yaml]\nmodel: {{options: {{channels: 64}}}}\ndata: {{root: here}}",
    )
    recipe = load_recipe(mine)
    base = load_recipe(BASE)
    assert (recipe.name, recipe.reference, recipe.description) == ("mine", None, "")
    assert (recipe.data.dataset, recipe.data.root, recipe.train.batch_size, recipe.train.seed) == (
        "camvid",
        "here",
        2,
        7,
    )
    assert recipe.model.options == {**base.model.options, "dropout": 0.2, "channels": 64}
    assert recipe.model.backbone == "resnet50c"
    assert recipe.optimizer == base.optimizer


def test_lists_are_replaced_not_joined(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", f"base: {BASE}\nmodel: {{losses: [{{name: ohem}}, {{name: dice}}]}}")
    recipe = load_recipe(write(tmp_path, "b.yaml", "base: a.yaml\nmodel: {losses: [{name: focal}]}"))
    assert [loss.name for loss in recipe.model.losses] == ["focal"]


def test_values_may_be_set_back_to_nothing() -> None:
    assert load_recipe(BASE, ["data.eval_resize=null"]).data.eval_resize is None


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("train.batch_size=8", ("train", "batch_size"), 8),
        ("optimizer.lr=1e-3", ("optimizer", "lr"), 0.001),
        ("optimizer.lr=1", ("optimizer", "lr"), 1.0),
        ("train.amp=bfloat16", ("train", "amp"), "bfloat16"),
        ("data.augment.crop=[64, 96]", ("data", "augment", "crop"), (64, 96)),
        ("model.options.channels=256", ("model", "options", "channels"), 256),
        ("model.options.pool_sizes=[1, 2]", ("model", "options", "pool_sizes"), [1, 2]),
        ("model.backbone_options.drop_path_rate=0.1", ("model", "backbone_options", "drop_path_rate"), 0.1),
        ("data.root=a=b", ("data", "root"), "a=b"),
        ("data.root=no", ("data", "root"), "no"),
        ("data.root='12'", ("data", "root"), "12"),
        ("schedule.warmup.iterations=10", ("schedule", "warmup", "iterations"), 10),
    ],
)
def test_overrides(override: str, key: tuple[str, ...], value: object) -> None:
    found: object = load_recipe(BASE, [override]).model_dump()
    for part in key:
        assert isinstance(found, dict)
        found = found[part]
    assert found == value
    assert type(found) is type(value)


def test_an_override_reaches_into_a_list_and_leaves_the_rest() -> None:
    losses = "model.losses=[{name: ohem, weight: 2.0}, {name: dice, options: {smooth: 2.0}}]"
    recipe = load_recipe(BASE, [losses, "model.losses.1.weight=3.0", "model.losses.1.options.power=1"])
    assert [(loss.name, loss.weight) for loss in recipe.model.losses] == [("ohem", 2.0), ("dice", 3.0)]
    assert recipe.model.losses[1].options == {"smooth": 2.0, "power": 1}
    assert override_recipe(recipe, ["model.losses.0.weight=0.5"]).model.losses[0].weight == 0.5


def test_a_later_length_in_the_other_unit_takes_the_place_of_the_first() -> None:
    train = load_recipe(BASE, ["train.iterations=100"]).train
    assert (train.iterations, train.epochs) == (100, None)
    assert train.eval_every is None, "10 epochs must not become 10 iterations"
    train = load_recipe(BASE, ["train.iterations=100", "train.eval_every=50", "train.epochs=3"]).train
    assert (train.iterations, train.epochs, train.eval_every) == (None, 3, None)
    assert load_recipe(BASE, ["train.epochs=3"]).train.eval_every == 10
    assert override_recipe(load_recipe(BASE), ["train.iterations=9"]).train.epochs is None


def test_arguments_of_another_method_are_forgotten() -> None:
    recipe = load_recipe(BASE, ["model.backbone_options.drop_path_rate=0.1", "data.options.size=3"])
    assert override_recipe(recipe, ["model.segmentor=fcn"]).model.options == {}
    assert override_recipe(recipe, ["model.segmentor=pspnet"]).model.options == recipe.model.options
    changed = override_recipe(recipe, ["model.segmentor=fcn", "model.options.channels=8", "model.backbone=resnet18"])
    assert (changed.model.options, changed.model.backbone_options) == ({"channels": 8}, {})
    assert changed.data.options == {"size": 3}
    assert override_recipe(recipe, ["data.dataset=camvid"]).data.options == {}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.bach_size=8"], r"override 'train.bach_size=8': unknown key train.bach_size. .*'train.batch_size'"),
        (["batch_size=8"], r"unknown key batch_size. Did you mean 'train.batch_size' or 'evaluation.batch_size'\?"),
        (["optimizer.foo=8"], r"unknown key optimizer.foo. Known here: name, lr, "),
        (["train.batch_size=eight"], r"train.batch_size is 'eight', but should be a valid integer"),
        (["train.batch_size='8'"], r"train.batch_size is '8', but should be a valid integer"),
        (["train.batch_size=true"], r"train.batch_size is True, but should be a valid integer"),
        (["train.batch_size=0"], r"train.batch_size is 0, but should be greater than 0"),
        (["optimizer.lr=fast"], r"optimizer.lr is 'fast', but should be a valid number"),
        (["model.output_stride=5"], r"model.output_stride is 5, but should be 4, 8, 16 or 32"),
        (["model.pretrained=3"], r"model.pretrained is 3, but should be a valid boolean or a valid string"),
        (["evaluation.scales=[]"], r"evaluation.scales is \[\], but should be a list of 1 or more"),
        (["data.augment.crop=512"], r"data.augment.crop is 512, but should be a list"),
        (["data.augment.crop=[512]"], r"override .*: data.augment.crop.1 is missing"),
        (["train=3"], r"train is 3, but should be keys with values"),
        (["train.epochs=null"], r"exactly one of train.epochs and train.iterations"),
        (["train.accumulate=3"], r"train.batch_size=16 cannot be split into 3 equal parts"),
        (["evaluation.mode=slide"], r"needs evaluation.window and evaluation.stride"),
        (["schedule.name=step"], r"schedule.milestones"),
        (["data.augment.scale=[2.0, 1.0]"], r"data.augment.scale is empty"),
        (["data.mean=[0.5]"], r"disagree about the number of channels"),
        (["train.batch_size"], r"should be key=value"),
        (["=8"], r"should be key=value"),
        (["train..epochs=8"], r"should be key=value"),
        (["train.epochs=[1"], r"override 'train.epochs=\[1', line \d, column \d: not valid YAML"),
        (["model.losses.0.weight=2.0"], r"give the whole list"),
        (["model.losses=[{name: ohem}]", "model.losses.1.weight=2.0"], r"'1' should be the number of an item, 0 to 0"),
    ],
)
def test_a_mistake_is_explained(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(BASE, overrides)


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe(BASE, ["train.bach_size=8", "optimizer.lr=fast"])
    assert len(str(error.value).splitlines()) == 2


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"unknown recipe 'pspnet_resnet50os8_ade2k'. Did you mean .*ade20k'\?"):
        load_recipe("pspnet_resnet50os8_ade2k")
    with pytest.raises(RecipeError, match=r"there is no recipe file .*absent\.yaml"):
        load_recipe("absent.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  epochs: [1\ndata: 3", r"mine\.yaml, line 3, column \d+: not valid YAML"),
        ("train: {epochs: 1}\ntrain: {epochs: 2}", r"mine\.yaml, line 2, column 1: .*'train' stands twice"),
        ("- 1", r"mine\.yaml: should be keys and values, not list"),
        ("", r"mine\.yaml: should be keys and values"),
        ("base: 3", r"mine\.yaml: base should be a name or a list of names, not 3"),
        ("base: absent.yaml", r"mine\.yaml: base 'absent.yaml': there is no file .*absent\.yaml"),
        ("base: datasets/camvit", r"mine\.yaml: unknown base 'datasets/camvit'. Did you mean 'datasets/camvid'\?"),
        (f"base: {BASE}\ntrain: {{batch: 3}}", r"mine\.yaml: unknown key train.batch. Did you mean 'train.batch_size'"),
        ("train: {epochs: 3}", r"model is missing\n(.*: )?data is missing"),
    ],
)
def test_a_mistake_in_a_file_says_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path, "mine.yaml", text))


def test_the_file_that_is_wrong_is_the_one_named(tmp_path: Path) -> None:
    write(tmp_path, "wrong.yaml", f"base: {BASE}\noptimizer: {{lr: fast}}")
    mine = write(tmp_path, "mine.yaml", "base: wrong.yaml\ntrain: {seed: 3}")
    with pytest.raises(RecipeError, match=r"wrong\.yaml: optimizer.lr is 'fast'"):
        load_recipe(mine)


def test_circles_are_found(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "base: b.yaml")
    with pytest.raises(RecipeError, match=r"circle: .*b\.yaml -> .*a\.yaml -> .*b\.yaml"):
        load_recipe(write(tmp_path, "b.yaml", "base: a.yaml"))


def test_the_same_base_may_be_reached_twice(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "base: datasets/camvid")
    mine = write(tmp_path, "b.yaml", "base: [a.yaml, datasets/camvid]\nmodel: {segmentor: fcn}")
    assert load_recipe(mine).data.dataset == "camvid"


@pytest.mark.parametrize("text", ["no", "on", "1:30", "0o7", "2020-01-01", "1e3", "null", "true", "12", ".5", "~", ""])
def test_strings_that_look_like_something_else_survive(text: str, tmp_path: Path) -> None:
    recipe = recipe_from_dict({**MINIMAL, "data": {"dataset": "camvid", "root": text, "options": {"value": text}}})
    assert load_recipe(write(tmp_path, "recipe.yaml", dump_recipe(recipe))).data == recipe.data


@pytest.mark.parametrize("number", [1e-6, 1.5e-7, 0.1 + 0.2, 1e22, -3.0, 4e-05])
def test_numbers_survive_exactly(number: float, tmp_path: Path) -> None:
    recipe = recipe_from_dict({**MINIMAL, "model": {"segmentor": "fcn", "options": {"value": number}}})
    again = load_recipe(write(tmp_path, "recipe.yaml", dump_recipe(recipe)))
    assert again.model.options["value"] == number
    assert isinstance(again.model.options["value"], float)


def test_recipes_cannot_be_changed() -> None:
    recipe = recipe_from_dict(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        recipe.train.epochs = 3  # type: ignore[misc]
    assert isinstance(recipe, Recipe)
