"""Recipes of MMSegmentation's configs: all of them load and build, and what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from vitrail.checkpoints.index import index
from vitrail.checkpoints.sources.mmseg.training import described, training_from_config
from vitrail.cli import cli
from vitrail.datasets import benchmarks
from vitrail.errors import RecipeError
from vitrail.layers.skip_init import shapes_only
from vitrail.optim import create_optimizer
from vitrail.recipes import Recipe, list_mmseg_recipes, load_recipe
from vitrail.segmentors import build_model
from vitrail.training import train

RECIPES = {name: load_recipe(name) for name in list_mmseg_recipes()}


def distinct(*sections: str) -> list[str]:
    """Return one recipe for each combination of encoder, method and the sections."""
    found: dict[str, str] = {}
    for name, recipe in RECIPES.items():
        key = [getattr(recipe, section).model_dump_json() for section in sections]
        found.setdefault(json.dumps([recipe.model.segmentor, recipe.model.backbone, *key]), name)
    return sorted(found.values())


def test_every_supported_checkpoint_has_the_recipe_of_its_model() -> None:
    for entry in index().values():
        if entry.project != "mmseg" or entry.unsupported or entry.name not in RECIPES:
            continue
        model = RECIPES[entry.name].model.model_dump(mode="json", exclude_unset=True)
        assert {**model, "pretrained": None} == {**_without_classes(entry.recipe["model"]), "pretrained": None}
    assert len(RECIPES) == 678


def _without_classes(model: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key != "num_classes"}


def build(name: str) -> None:
    recipe = RECIPES[name]
    dataset = recipe.data.dataset
    classes = len(benchmarks()[dataset].classes) if dataset in benchmarks() else 5
    section = recipe.model.model_copy(update={"pretrained": False})
    with shapes_only():
        model = build_model(section, classes)
    create_optimizer(model, recipe.optimizer)  # a rule that matches nothing is an error


@pytest.mark.parametrize(
    "name",
    [
        "mmseg/beit-base_upernet_8xb2-160k_ade20k-640x640",
        "mmseg/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512",
        "mmseg/segformer_mit-b0_8xb2-160k_ade20k-512x512",
        "mmseg/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512",
        "mmseg/maskformer_swin-t_upernet_8xb2-160k_ade20k-512x512",
        "mmseg/setr_vit-l_mla_8xb2-160k_ade20k-512x512",
        "mmseg/twins_svt-s_uperhead_8xb2-160k_ade20k-512x512",
    ],
)
def test_parameter_groups_match_the_model(name: str) -> None:
    build(name)


@pytest.mark.nightly
@pytest.mark.parametrize("name", distinct("optimizer"))
def test_every_kind_of_recipe_builds(name: str) -> None:
    build(name)


def test_the_settings_of_a_convolutional_network() -> None:
    recipe = RECIPES["mmseg/pspnet_r50-d8_4xb4-20k_voc12aug-512x512"]
    assert (recipe.name, recipe.model.num_classes, recipe.model.pretrained) == (
        "pspnet_r50-d8_4xb4-20k_voc12aug-512x512",
        None,
        True,
    )
    assert (recipe.data.dataset, recipe.data.train_split) == ("voc", "trainaug")
    assert recipe.data.augment.resize is not None
    assert (recipe.data.augment.resize.size, recipe.data.augment.scale) == ((512, 2048), (0.5, 2.0))
    assert (recipe.data.augment.crop, recipe.data.augment.max_class_share) == ((512, 512), 0.75)
    assert (recipe.train.iterations, recipe.train.batch_size, recipe.train.eval_every) == (20_000, 16, 2000)
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.optimizer.weight_decay) == ("sgd", 0.01, 0.0005)
    assert (recipe.schedule.name, recipe.schedule.power, recipe.schedule.min_lr) == ("poly", 0.9, 0.0001)
    assert recipe.reference is not None and recipe.reference.miou == 0.7678
    assert "Not taken: the encoder's weights open-mmlab://resnet50_v1c" in recipe.description


def test_the_settings_of_a_transformer() -> None:
    recipe = RECIPES["mmseg/segformer_mit-b0_8xb2-160k_ade20k-512x512"]
    optimizer, warmup = recipe.optimizer, recipe.schedule.warmup
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay, optimizer.head_lr) == ("adamw", 0.00006, 0.01, 10.0)
    assert [(rule.match, rule.lr, rule.weight_decay) for rule in optimizer.rules] == [
        (name, None, 0.0) for name in ("embed.norm", "norm1", "attn.norm", "norm2")
    ]
    assert warmup is not None and (warmup.iterations, warmup.ratio, warmup.delay_schedule) == (1500, 1e-6, True)
    assert "begin" not in recipe.description
    beit = RECIPES["mmseg/beit-large_upernet_8xb1-amp-160k_ade20k-640x640"]
    assert (beit.optimizer.layer_decay, beit.optimizer.backbone_lr) == (0.95, round(1 / 0.95, 10))
    assert (beit.train.batch_size, beit.train.accumulate, beit.train.amp) == (16, 2, "float16")


def config(**changes: Any) -> dict[str, Any]:
    head = {"type": "FCNHead", "num_classes": 19, "channels": 8, "in_index": 3, "concat_input": False}
    whole = {
        "dataset_type": "CityscapesDataset",
        "model": {
            "type": "EncoderDecoder",
            "backbone": {"type": "ResNetV1c", "depth": 18, "norm_eval": True, "frozen_stages": 0, "style": "pytorch"},
            "decode_head": {**head, "norm_cfg": {"type": "SyncBN"}},
        },
        "train_pipeline": [
            {"type": "LoadImageFromFile"},
            {"type": "LoadAnnotations"},
            {"type": "RandomCrop", "crop_size": (64, 96)},
            {"type": "RandomRotFlip", "degree": 20},
        ],
        "train_dataloader": {"batch_size": 3, "dataset": {"type": "CityscapesDataset"}},
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 100, "val_interval": 50, "val_begin": 60},
        "optim_wrapper": {
            "type": "OptimWrapper",
            "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.8, "weight_decay": 0.0},
            "clip_grad": {"max_norm": 2.0, "norm_type": 2},
            "paramwise_cfg": {"custom_keys": {"gate": {"lr_mult": 3.0}}, "bias_lr_mult": 2.0},
        },
        "param_scheduler": [{"type": "CosineAnnealingLR", "begin": 0, "T_max": 100}],
    }
    return {**whole, **changes}


def test_what_is_not_taken_is_said() -> None:
    made = training_from_config(config(), "mine_2xb3-100_cityscapes")
    assert made.left_out == [
        "train_pipeline: RandomRotFlip",
        "train_cfg.val_begin=60",
        "optim_wrapper.paramwise_cfg.custom_keys.gate={'lr_mult': 3.0}",
        "optim_wrapper.paramwise_cfg.bias_lr_mult=2.0",
        "param_scheduler={'type': 'CosineAnnealingLR', 'begin': 0, 'T_max': 100}",
    ]
    train_section = made.recipe["train"]
    assert train_section == {
        "iterations": 100,
        "batch_size": 6,
        "eval_every": 50,
        "freeze_norms": True,
        "freeze_stages": 0,
        "clip_grad_norm": 2.0,
    }
    assert made.recipe["optimizer"]["options"] == {"momentum": 0.8}
    assert made.recipe["data"]["augment"] == {
        "flip": 0.0,
        "photometric": False,
        "crop": [64, 96],
        "max_class_share": 1.0,
    }
    text = described("mine", made.left_out)
    assert text.startswith("MMSegmentation's mine. Not taken: train_pipeline: RandomRotFlip; train_cfg.val_begin=60; ")
    assert described("mine", []) == "MMSegmentation's mine."


def test_unknown_and_unsupported_configs() -> None:
    with pytest.raises(RecipeError, match=r"no config 'pspnet_r50-d8'.*mmseg/pspnet_r50-d8.*`vitrail recipes mmseg/`"):
        load_recipe("mmseg/pspnet_r50-d8")
    with pytest.raises(
        RecipeError, match=r"no recipe for MMSegmentation's vpd_sd_4xb8.*no method like.*DepthEstimator"
    ):
        load_recipe("mmseg/vpd_sd_4xb8-25k_nyu-512x512")


def test_the_command_lists_and_prints_them() -> None:
    listed = CliRunner().invoke(cli, ["recipes", "mmseg/"]).output.split()
    assert listed == list_mmseg_recipes()
    printed = CliRunner().invoke(cli, ["recipe", listed[0], "train.batch_size=5"]).output
    assert "batch_size: 5" in printed and "description: 'MMSegmentation''s ann_r101" in printed


def test_a_config_can_be_built_on_and_trained(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "base: mmseg/fast_scnn_8xb4-160k_cityscapes-512x1024\n"
        "data:\n"
        "  dataset: scenes\n"
        "  options: {size: [64, 96], train: 4, val: 2, test: 1}\n"
        "  workers: 0\n"
        "  eval_resize: null\n"
        "  augment: {resize: null, crop: [64, 64]}\n"
        "train: {iterations: 1, batch_size: 2, eval_every: null}\n"
    )
    recipe: Recipe = load_recipe(tmp_path / "mine.yaml")
    assert (recipe.name, recipe.model.segmentor, recipe.reference) == ("mine", "fastscnn", None)
    result = train(tmp_path / "mine.yaml", output_dir=tmp_path / "run", device="cpu")
    assert result.last.exists()
