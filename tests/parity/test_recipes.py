"""Recipes against the models and optimizers of SSSegmentation's configurations: as many parameters learn as fast."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from parity.references import build_ssseg
from vitrail.layers.skip_init import shapes_only
from vitrail.optim import create_optimizer
from vitrail.recipes import load_recipe
from vitrail.segmentors import build_model

pytestmark = pytest.mark.parity

# Every kind of rule for parameters, and every method and encoder whose parameters are counted alike.
NAMES = [
    "bisenetv2/fcn_bisenetv2_cityscapes",
    "annnet/annnet_resnet50os8_voc",
    "apcnet/apcnet_resnet50os8_voc",
    "ccnet/ccnet_resnet50os8_voc",
    "danet/danet_resnet50os8_voc",
    "deeplabv3plus/deeplabv3plus_resnet50os16_voc",
    "dmnet/dmnet_resnet50os8_voc",
    "dnlnet/dnlnet_resnet50os8_voc",
    "emanet/emanet_resnet50os8_voc",
    "encnet/encnet_resnet50os16_voc",
    "gcnet/gcnet_resnet50os8_voc",
    "isanet/isanet_resnet50os8_voc",
    "maskformer/maskformer_swintiny_ade20k",
    "mask2former/mask2former_swintiny_ade20k",
    "mobilenetv2/deeplabv3_mobilenetv2os8_voc",
    "nonlocalnet/nonlocalnet_resnet50os8_voc",
    "ocrnet/ocrnet_hrnetv2w18s_cityscapes",
    "segformer/segformer_mitb0_ade20k",
    "beit/upernet_beitbase_ade20k",
    "convnext/upernet_convnexttiny_ade20k",
    "swin/upernet_swintiny_ade20k",
    "twins/upernet_pcpvtsmall_ade20k",
    "twins/upernet_svtsmall_ade20k",
]
Counts = Counter[tuple[float, float]]


def count(groups: list[dict[str, Any]], lr: float, weight_decay: float) -> Counts:
    """Return how many numbers learn with each learning rate and weight decay."""
    counts: Counts = Counter()
    for group in groups:
        setting = (round(group.get("lr", lr), 12), round(group.get("weight_decay", weight_decay), 12))
        counts[setting] += sum(parameter.numel() for parameter in group["params"])
    return counts


def published(name: str, configs: Path) -> Counts:
    model = build_ssseg(name)
    from ssseg.modules.models.optimizers.paramsconstructor import BuildParamsConstructor

    config = json.loads(configs.read_text())[name]["scheduler"]["optimizer"]
    rules, filtered = config.pop("params_rules"), config.pop("filter_params", False)
    groups = list(BuildParamsConstructor(params_rules=rules, filter_params=filtered, optimizer_cfg=config)(model))
    if torch.is_tensor(groups[0]):
        groups = [{"params": groups}]
    decay_without_rule(groups, model, rules.get("base_setting", {}), config["weight_decay"])
    return count(groups, config["lr"], config["weight_decay"])


def decay_without_rule(
    groups: list[dict[str, Any]], model: torch.nn.Module, setting: dict[str, float], weight_decay: float
) -> None:
    """Set the weight decay of norms that no rule names as the configuration states, which its constructor passes by."""
    norms = (torch.nn.LayerNorm, torch.nn.GroupNorm, torch.nn.modules.batchnorm._BatchNorm)
    of_norms = {id(p) for module in model.modules() if isinstance(module, norms) for p in module.parameters()}
    for group in groups:
        if group.get("rule_key") == "base_setting" and id(group["params"][0]) in of_norms:
            group["weight_decay"] = weight_decay * setting.get("norm_wd_multiplier", 1.0)


def ours(name: str, num_classes: int) -> Counts:
    recipe = load_recipe(name.partition("/")[2], ["model.pretrained=false"])
    model = build_model(recipe.model, num_classes)
    optimizer = create_optimizer(model, recipe.optimizer)
    return count(optimizer.param_groups, recipe.optimizer.lr, recipe.optimizer.weight_decay)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_learn_as_published(name: str, configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linspace = torch.linspace  # whose numbers are read while models are built, which takes a real device
    monkeypatch.setattr(torch, "linspace", lambda *args, **options: linspace(*args, **{**options, "device": "cpu"}))
    with shapes_only():
        theirs = published(name, configs)
        assert ours(name, json.loads(configs.read_text())[name]["num_classes"]) == theirs
