"""Loading: composition, overrides, and what a user is told about mistakes."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from vitrail.errors import RecipeError
from vitrail.files.yaml_file import parse_yaml
from vitrail.recipes import Recipe, dump_recipe, list_recipes, load_recipe, override_recipe, recipe_from_dict
from vitrail.recipes.compose import FRAGMENTS, shipped_fragments, shipped_recipes

BASE = "pspnet_resnet50os8_ade20k"
EDGE = "data.augment.shortest_edge="
MINIMAL = {"model": {"segmentor": "fcn"}, "data": {"dataset": "camvid"}, "train": {"epochs": 1}}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_every_shipped_recipe_loads_and_survives_yaml(tmp_path: Path) -> None:
    for name in list_recipes():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.description
        again = Recipe.model_validate(parse_yaml(dump_recipe(recipe), name, RecipeError).data)
        assert again == recipe
        assert dump_recipe(again) == dump_recipe(recipe)
    assert load_recipe(write(tmp_path, "other.yaml", dump_recipe(recipe))) == recipe


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
    losses = "model.losses=[{name: ohem, weight: 2.0}, {name: dice, options: {eps: 2.0}}]"
    recipe = load_recipe(BASE, [losses, "model.losses.1.weight=3.0", "model.losses.1.options.squared=true"])
    assert [(loss.name, loss.weight) for loss in recipe.model.losses] == [("ohem", 2.0), ("dice", 3.0)]
    assert recipe.model.losses[1].options == {"eps": 2.0, "squared": True}
    assert override_recipe(recipe, ["model.losses.0.weight=0.5"]).model.losses[0].weight == 0.5
    other = override_recipe(recipe, ["model.losses.1.name=focal"]).model.losses[1]
    assert (other.name, other.weight, other.options) == ("focal", 3.0, {}), "options belong to the loss that had them"


def test_an_override_reaches_into_a_list_that_nobody_has_written() -> None:
    recipe = load_recipe(BASE, ["model.losses.0.weight=0.5", "data.mean.1=100.0"])
    assert [(loss.name, loss.weight) for loss in recipe.model.losses] == [("cross_entropy", 0.5)]
    assert recipe.data.mean == (123.675, 100.0, 103.53)


def test_an_override_reaches_into_what_is_given_by_its_name_alone() -> None:
    recipe = load_recipe(BASE, ["train.strategy=ddp", "train.strategy.options={}", "train.loggers=[text, wandb]"])
    assert recipe.train.strategy.name == "ddp"
    changed = load_recipe(BASE, ["train.loggers=[text, wandb]", "train.loggers.1.options.project=mine"])
    assert [(logger.name, logger.options) for logger in changed.train.loggers] == [
        ("text", {}),
        ("wandb", {"project": "mine"}),
    ]


def test_an_override_appends_to_a_list() -> None:
    recipe = load_recipe(BASE, ["model.losses.1.name=dice", "model.losses.1.weight=3.0", "evaluation.scales.1=0.5"])
    assert [(loss.name, loss.weight) for loss in recipe.model.losses] == [("cross_entropy", 1.0), ("dice", 3.0)]
    assert recipe.evaluation.scales == (1.0, 0.5)


def test_a_later_length_in_the_other_unit_takes_the_place_of_the_first() -> None:
    train = load_recipe(BASE, ["train.iterations=100"]).train
    assert (train.iterations, train.epochs) == (100, None)
    assert train.eval_every is None, "10 epochs must not become 10 iterations"
    train = load_recipe(BASE, ["train.iterations=100", "train.eval_every=50", "train.epochs=3"]).train
    assert (train.iterations, train.epochs, train.eval_every) == (None, 3, None)
    assert load_recipe(BASE, ["train.epochs=3"]).train.eval_every == 10
    assert override_recipe(load_recipe(BASE), ["train.iterations=9"]).train.epochs is None


def test_arguments_of_another_method_are_forgotten() -> None:
    recipe = load_recipe(
        BASE, ["model.backbone_options.drop_path_rate=0.1", "data.dataset=scenes", "data.options.val=3"]
    )
    assert override_recipe(recipe, ["model.segmentor=fcn"]).model.options == {}
    assert override_recipe(recipe, ["model.segmentor=pspnet"]).model.options == recipe.model.options
    changed = override_recipe(recipe, ["model.segmentor=fcn", "model.options.channels=8", "model.backbone=resnet18"])
    assert (changed.model.options, changed.model.backbone_options) == ({"channels": 8}, {})
    assert changed.data.options == {"val": 3}
    assert override_recipe(recipe, ["data.dataset=camvid"]).data.options == {}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.bach_size=8"], r"override 'train.bach_size=8': train.bach_size: unknown key. .*'train.batch_size'"),
        (["batch_size=8"], r"batch_size: unknown key. Did you mean 'train.batch_size' or 'evaluation.batch_size'\?"),
        (["optimizer.foo=8"], r"optimizer.foo: unknown key. Known here: name, lr, "),
        (["train.batch_size=eight"], r"train.batch_size: should be a valid integer or 'auto', not 'eight'"),
        (["train.batch_size='8'"], r"train.batch_size: should be a valid integer or 'auto', not '8'"),
        (["train.batch_size=true"], r"train.batch_size: should be a valid integer or 'auto', not True"),
        (["train.batch_size=0"], r"train.batch_size: should be greater than 0 or 'auto', not 0"),
        (["train.ema=1.0"], r"train.ema: should be less than 1, not 1.0"),  # weights that never move
        (["optimizer.lr=fast"], r"optimizer.lr: should be a valid number, not 'fast'"),
        (["model.output_stride=5"], r"model.output_stride: should be 4, 8, 16 or 32, not 5"),
        (["model.pretrained=3"], r"model.pretrained: should be a valid boolean or a valid string, not 3"),
        (["evaluation.scales=[]"], r"evaluation.scales: should be a list of 1 or more, not \[\]"),
        (["data.augment.crop=512"], r"data.augment.crop: should be a list, not 512"),
        (["data.augment.crop=[512]"], r"override .*: data.augment.crop.1: is missing"),
        (["train=3"], r"train: should be keys with values, not 3"),
        (["train.epochs=null"], r"exactly one of train.epochs and train.iterations"),
        (["train.accumulate=3"], r"train.batch_size=16 cannot be split into 3 equal parts"),
        (["evaluation.mode=slide"], r"needs evaluation.window and evaluation.stride"),
        (["schedule.name=step"], r"schedule.milestones"),
        (["data.augment.scale=[2.0, 1.0]"], r"data.augment.scale is empty"),
        ([f"{EDGE}{{max_size: 64}}"], r"shortest_edge needs either lengths or between"),
        ([f"{EDGE}{{lengths: [32], between: [8, 9], max_size: 64}}"], r"needs either lengths or between"),
        ([f"{EDGE}{{between: [9, 8], max_size: 64}}"], r"shortest_edge.between should rise: \[9, 8\]"),
        ([f"{EDGE}{{between: [9, 80], max_size: 64}}"], r"shortest_edge has lengths up to 80, which is more than"),
        (["data.mean=[0.5]"], r"disagree about the number of channels"),
        (["train.batch_size"], r"should be key=value"),
        (["=8"], r"should be key=value"),
        (["train..epochs=8"], r"should be key=value"),
        (["train.epochs=[1"], r"override 'train.epochs=\[1': not valid YAML"),
        (["model.options.pool_sizes=null", "model.options.pool_sizes.0=2"], r"give the whole list"),
        (["model.losses.2.weight=2.0"], r"'2' should be the number of an item, 0 to 0, or 1 to append one"),
        (["model.losses.².weight=2.0"], r"'²' should be the number of an item"),
        (["model.losses.-1.weight=2.0"], r"'-1' should be the number of an item"),
        ([".".join("a" * 40) + "=1"], r"a key has 32 parts at most, and this one 40"),
    ],
)
def test_a_mistake_is_explained(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(BASE, overrides)


@pytest.mark.parametrize(
    "override",
    [
        *(
            "optimizer.lr=.inf",
            "optimizer.lr=.nan",
            "optimizer.lr=1e400",
            "optimizer.lr=1e30",
            "optimizer.weight_decay=-1",
        ),
        *("model.losses=[{weight: .nan}]", "model.losses.0.weight=-1.0", "model.losses.0.weight=1e38"),
        *(
            "data.mean=[.nan, 0.0, 0.0]",
            "data.mean=[1e9, 1e9, 1e9]",
            "data.std=[1e-30, 1.0, 1.0]",
            "data.workers=1000000",
        ),
        *(
            "train.seed=9223372036854775808",
            "train.seed=-1",
            "train.iterations=1000000000000",
            "train.clip_grad_norm=0.0",
        ),
        *(
            "data.augment.scale=[1e-9, 1e-9]",
            "data.augment.scale=[1e6, 1e6]",
            "data.augment.crop=[1000000000, 64]",
            "data.augment.crop=[1, 1]",
        ),
        *("evaluation.scales=[1e6]", "evaluation.batch_size=100000000000000000000", "model.in_channels=1000000"),
        *("model.options.channels=.inf", "model.options.channels=9223372036854775808", "model.options={1: 2}"),
        "model.options.a=" + "[" * 16 + "]" * 16,
    ],
)
def test_numbers_without_sense_are_refused(override: str) -> None:
    key = override.partition("=")[0].removesuffix(".a").removesuffix(".channels").replace(".0.weight", "")
    with pytest.raises(RecipeError, match=rf": {re.escape(key)}[.:]"):
        load_recipe(BASE, [override])


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
        ("train:\n  epochs: [1\ndata: 3", r"mine\.yaml:3: not valid YAML"),
        ("train: {epochs: 1}\ntrain: {epochs: 2}", r"mine\.yaml:2: the key 'train' stands twice"),
        ("- 1", r"mine\.yaml: should be keys with values, not a list"),
        ("", r"mine\.yaml: should be keys with values, not nothing"),
        ("base: 3", r"mine\.yaml:1: base: should be a name or a list of names, not a number"),
        ("base: absent.yaml", r"mine\.yaml:1: base: there is no file .*absent\.yaml"),
        (
            "base: datasets/camvit",
            r"mine\.yaml:1: base: unknown base 'datasets/camvit'. .* 'datasets/camvid'\?",
        ),
        (
            f"base: {BASE}\ntrain: {{batch: 3}}",
            r"mine\.yaml:2: train.batch: unknown key. .* 'train.batch_size'",
        ),
        ("train: {epochs: 3}", r"mine\.yaml: model: is missing\n.*mine\.yaml: data: is missing"),
    ],
)
def test_a_mistake_in_a_file_says_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path, "mine.yaml", text))


def test_the_file_that_is_wrong_is_the_one_named(tmp_path: Path) -> None:
    write(tmp_path, "wrong.yaml", f"base: {BASE}\noptimizer: {{lr: fast}}")
    mine = write(tmp_path, "mine.yaml", "base: wrong.yaml\ntrain: {seed: 3}")
    with pytest.raises(RecipeError, match=r"wrong\.yaml:2: optimizer.lr: should be a valid number, not 'fast'"):
        load_recipe(mine)


def test_circles_are_found(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "base: b.yaml")
    with pytest.raises(RecipeError, match=r"circular: .*b\.yaml -> .*a\.yaml -> .*b\.yaml"):
        load_recipe(write(tmp_path, "b.yaml", "base: a.yaml"))


def test_the_same_base_may_be_reached_twice(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "base: datasets/camvid")
    mine = write(tmp_path, "b.yaml", "base: [a.yaml, datasets/camvid]\nmodel: {segmentor: fcn}")
    assert load_recipe(mine).data.dataset == "camvid"


@pytest.mark.parametrize("text", ["no", "on", "1:30", "0o7", "2020-01-01", "1e3", "null", "true", "12", ".5", "~", ""])
def test_strings_that_look_like_something_else_survive(text: str, tmp_path: Path) -> None:
    recipe = recipe_from_dict({**MINIMAL, "data": {"dataset": "camvid", "root": text, "eval_split": "val"}})
    assert load_recipe(write(tmp_path, "recipe.yaml", dump_recipe(recipe))).data == recipe.data


@pytest.mark.parametrize("number", [1e-6, 1.5e-7, 0.1 + 0.2, 1e22, -3.0, 4e-05])
def test_numbers_survive_exactly(number: float, tmp_path: Path) -> None:
    recipe = recipe_from_dict({**MINIMAL, "model": {"segmentor": "fcn", "options": {"dropout": number}}})
    again = load_recipe(write(tmp_path, "recipe.yaml", dump_recipe(recipe)))
    assert again.model.options["dropout"] == number
    assert isinstance(again.model.options["dropout"], float)


def test_recipes_cannot_be_changed() -> None:
    recipe = recipe_from_dict(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        recipe.train.epochs = 3  # type: ignore[misc]
    assert isinstance(recipe, Recipe)
