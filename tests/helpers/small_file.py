"""A model small enough to save and load many times."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vitrail.recipes import model_config_from_dict
from vitrail.segmentors import ModelCard, Segmentor, build_model

CLASSES = ("road", "sky", "tree")
SETTINGS = {"segmentor": "fastscnn", "options": {}}


def small_card(classes: tuple[str, ...] = CLASSES) -> ModelCard:
    palette = tuple((40 * index, 10, 200) for index in range(len(classes)))
    recipe = {"model": SETTINGS, "data": {"dataset": "scenes"}, "train": {"epochs": 1}}
    return ModelCard(classes=classes, palette=palette, recipe=recipe, name="small", metrics={"miou": 0.5})


@pytest.fixture
def model() -> Segmentor:
    model = build_model(model_config_from_dict(SETTINGS), len(CLASSES), card=small_card())
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.fixture
def model_file(model: Segmentor, tmp_path: Path) -> Path:
    from vitrail.checkpoints import save_model

    path = tmp_path / "small.safetensors"
    save_model(model, path)
    return path
