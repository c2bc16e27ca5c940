"""Every shipped recipe names things that exist: a method and its arguments, a backbone, losses, a dataset."""

from __future__ import annotations

import re

import pytest

from vitrail.datasets import benchmarks
from vitrail.layers.skip_init import shapes_only
from vitrail.optim import create_optimizer
from vitrail.recipes import list_recipes, load_recipe
from vitrail.segmentors import build_model

CLASSES = 5
RECIPES = {name: load_recipe(name) for name in list_recipes()}
# Recipes that differ in their data alone have the same model, which is built once.
DISTINCT = {recipe.model.model_dump_json(): name for name, recipe in RECIPES.items()}


def family(name: str) -> tuple[str, str]:
    """Return a recipe's method and the letters that its encoder's name begins with."""
    model = RECIPES[name].model
    return model.segmentor, re.match(r"[a-z]*", model.backbone or "")[0]  # type: ignore[index]


# The recipe of the shortest name (resnet50 before resnet101) for each method and family; the rest is nightly.
FIRST = {family(name): name for name in sorted(DISTINCT.values(), key=lambda name: (-len(name), name))}
BUILT = [
    pytest.param(name, marks=() if FIRST[family(name)] == name else pytest.mark.nightly)
    for name in sorted(DISTINCT.values())
]


def number_of_classes(name: str) -> int:
    dataset = RECIPES[name].data.dataset
    return len(benchmarks()[dataset].classes) if dataset in benchmarks() else CLASSES


@pytest.mark.parametrize("name", BUILT)
def test_the_model_builds(name: str) -> None:
    recipe = load_recipe(name, ["model.pretrained=false"])
    with shapes_only():
        model = build_model(recipe.model, number_of_classes(name))
    assert model.num_classes == number_of_classes(name)
    create_optimizer(model, recipe.optimizer)


def test_weights_of_classes_are_one_for_each() -> None:
    given = [
        (name, loss.options["class_weights"])
        for name, recipe in RECIPES.items()
        for loss in (*recipe.model.losses, *(recipe.model.auxiliary.losses or ()))
        if loss.options.get("class_weights") is not None
    ]
    assert given
    assert all(weights == "balanced" or len(weights) == number_of_classes(name) for name, weights in given)


@pytest.mark.parametrize("name", [name for name in list_recipes() if name.endswith("_scenes")])
def test_recipes_for_the_built_in_scenes_need_no_download(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.model.pretrained is False
    assert recipe.data.root is None


@pytest.mark.parametrize("dataset", ["camvid", "scenes", "voc", "ade20k", "cityscapes"])
def test_the_first_models_have_a_recipe_for_every_dataset(dataset: str) -> None:
    models = {
        (recipe.model.segmentor, recipe.model.backbone) for recipe in RECIPES.values() if recipe.data.dataset == dataset
    }
    assert {"fcn", "pspnet"} <= {segmentor for segmentor, _ in models}
    assert {"cgnet_m3n21", "fastscnn"} <= {backbone for _, backbone in models}
