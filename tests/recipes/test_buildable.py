"""Every shipped recipe names things that exist: a method and its arguments, a backbone, losses, a dataset."""

from __future__ import annotations

import pytest
import torch

from vitrail.datasets import benchmarks
from vitrail.optim import create_optimizer
from vitrail.recipes import list_recipes, load_recipe
from vitrail.segmentors import build_model

CLASSES = 5
RECIPES = {name: load_recipe(name) for name in list_recipes()}
# Recipes that differ in their data alone have the same model, which is built once.
DISTINCT = {recipe.model.model_dump_json(): name for name, recipe in RECIPES.items()}


@pytest.mark.parametrize("name", sorted(DISTINCT.values()))
def test_the_model_builds(name: str) -> None:
    recipe = load_recipe(name, ["model.pretrained=false"])
    dataset = recipe.data.dataset
    classes = len(benchmarks()[dataset].classes) if dataset in benchmarks() else CLASSES
    with torch.device("meta"):
        model = build_model(recipe.model, classes)
    assert model.num_classes == classes
    for weights in (options.get("class_weights") for options in (loss.options for loss in recipe.model.losses)):
        assert weights is None or len(weights) == classes
    create_optimizer(model, recipe.optimizer)


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
