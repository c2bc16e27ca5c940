"""Learning rate and weight decay of every parameter against SSSegmentation's optimizer builder, on the same modules."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import timm.layers
import torch
from torch import Tensor, nn

from parity.references import require_ssseg
from vitrail.backbones import Backbone
from vitrail.optim import create_optimizer
from vitrail.recipes import OptimizerConfig, ParamRule
from vitrail.segmentors import Head, Segmentor

pytestmark = pytest.mark.parity

LR, DECAY = 6e-5, 0.01
Settings = dict[int, tuple[float, float]]


class BEiT(Backbone):
    """The parameters of a transformer, under the names that SSSegmentation looks for: the class's is one of them."""

    channels = (8,)
    strides = (4,)

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.patch_embed = nn.Conv2d(3, 8, 4)
        self.layers = nn.ModuleList(self.block() for _ in range(3))

    @staticmethod
    def block() -> nn.Module:
        block = nn.Sequential()
        block.add_module("norm1", nn.LayerNorm(8))
        block.add_module("attn", nn.MultiheadAttention(8, 2))
        block.add_module("ffn", nn.Linear(8, 8))
        block.register_parameter("gamma", nn.Parameter(torch.ones(8)))
        block.register_parameter("relative_position_bias_table", nn.Parameter(torch.ones(9, 2)))
        return block

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.patch_embed(images)]

    def parameter_depths(self) -> dict[str, int]:
        names = [name for name, _ in self.named_parameters()]
        return {name: 1 + int(name.split(".")[1]) if name.startswith("layers.") else 0 for name in names}


class Decoder(Head):
    def __init__(self) -> None:
        super().__init__(3)
        self.convs = timm.layers.ConvNormAct(8, 8, 3)
        self.norm = nn.GroupNorm(2, 8)
        self.classifier = nn.Conv2d(8, 3, 1)


@pytest.fixture
def model() -> Segmentor:
    return Segmentor(BEiT(), Decoder())


def ours(model: Segmentor, **options: Any) -> Settings:
    return settings(create_optimizer(model, OptimizerConfig(name="adamw", lr=LR, weight_decay=DECAY, **options)))


def theirs(model: nn.Module, params_rules: dict[str, Any]) -> Settings:
    require_ssseg()
    build = importlib.import_module("ssseg.modules.models.optimizers").BuildOptimizer
    return settings(build(model, {"type": "AdamW", "lr": LR, "weight_decay": DECAY, "params_rules": params_rules}))


def settings(optimizer: torch.optim.Optimizer) -> Settings:
    found: Settings = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert id(parameter) not in found
            found[id(parameter)] = (group["lr"], group["weight_decay"])
    return found


def assert_same(model: Segmentor, left: Settings, right: Settings) -> None:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert left.keys() == right.keys() == names.keys()
    for key, name in names.items():
        assert left[key] == pytest.approx(right[key], rel=1e-12, abs=0), name


@pytest.mark.parametrize(
    ("params_rules", "options"),
    [
        pytest.param({}, {}, id="none"),
        pytest.param(
            {"norm": {"wd_multiplier": 0.0}, "relative_position_bias_table": {"wd_multiplier": 0.0}},
            {
                "rules": (
                    ParamRule(match="norm", weight_decay=0.0),
                    ParamRule(match="relative_position_bias_table", weight_decay=0.0),
                )
            },
            id="swin",
        ),
        pytest.param(
            {
                "norm": {"wd_multiplier": 0.0},
                "convs": {"lr_multiplier": 10.0, "wd_multiplier": 1.0},
                "head.": {"lr_multiplier": 10.0, "wd_multiplier": 1.0},
            },
            # In SSSegmentation the longest match wins, with both multipliers: norms of the head do decay.
            {"rules": (ParamRule(match="norm", weight_decay=0.0), ParamRule(match="head.", lr=10.0, weight_decay=1.0))},
            id="segformer",
        ),
        pytest.param(
            {"backbone": {"lr_multiplier": 0.1, "wd_multiplier": 1.0}}, {"backbone_lr": 0.1}, id="slow backbone"
        ),
        pytest.param(
            {
                # SSSegmentation's configurations give this one too, but it never takes effect: it is read as a rule.
                "base_setting": {"norm_wd_multiplier": 0.0},
                "backbone": {"lr_multiplier": 0.1, "wd_multiplier": 1.0},
                "backbone.layers.0.norm": {"lr_multiplier": 0.1, "wd_multiplier": 0.0},
                "cls_token": {"lr_multiplier": 0.1, "wd_multiplier": 0.0},
            },
            {
                "backbone_lr": 0.1,
                "rules": (
                    ParamRule(match="backbone.layers.0.norm", weight_decay=0.0),
                    ParamRule(match="cls_token", weight_decay=0.0),
                ),
            },
            id="mask2former",
        ),
    ],
)
def test_rules(model: Segmentor, params_rules: dict[str, Any], options: dict[str, Any]) -> None:
    assert_same(model, ours(model, **options), theirs(model, params_rules))


@pytest.mark.parametrize("rate", [0.9, 0.65])
def test_layer_decay(model: Segmentor, rate: float) -> None:
    reference = nn.Module()
    reference.backbone_net, reference.decoder = model.backbone, model.head
    rules = {
        "type": "LearningRateDecayParamsConstructor",
        "num_layers": len(model.backbone.layers),  # type: ignore[arg-type]
        "decay_rate": rate,
        "decay_type": "layer_wise_vit",
    }
    found = ours(
        model,
        layer_decay=rate,
        decay_norms=False,
        decay_biases=False,
        # There, every vector is left out of the decay.
        rules=(ParamRule(match="gamma", weight_decay=0.0),),
    )
    assert_same(model, found, theirs(reference, rules))
