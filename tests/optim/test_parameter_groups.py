"""Parameter groups: every parameter once, with the learning rate and weight decay that were asked for."""

from __future__ import annotations

import pytest
import timm.layers
import torch
from torch import Tensor, nn

from vitrail.backbones import Backbone
from vitrail.errors import ModelError, TrainingError
from vitrail.optim import parameter_groups
from vitrail.recipes import OptimizerConfig, ParamRule, WarmupConfig
from vitrail.segmentors import Head, Segmentor

LR, DECAY = 0.01, 0.05


class Tower(Backbone):
    """A small encoder with every kind of parameter."""

    channels = (8,)
    strides = (4,)

    def __init__(self) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 4, 8))
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList(
            nn.Sequential(timm.layers.LayerNorm2d(8), nn.Conv2d(8, 8, 1), timm.layers.BatchNormAct2d(8))
            for _ in range(2)
        )
        self.attention = nn.MultiheadAttention(8, 2)
        self.gamma = nn.Parameter(torch.ones(8))

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.stem(images)]


class DeepTower(Tower):
    def parameter_depths(self) -> dict[str, int]:
        def depth(name: str) -> int:
            if name.startswith("blocks."):
                return 1 + int(name.split(".")[1])
            return 0 if name.startswith(("stem", "norm", "pos_embed")) else 2

        return {name: depth(name) for name, _ in self.named_parameters()}


class Classifier(Head):
    def __init__(self) -> None:
        super().__init__(3)
        self.norm = timm.layers.RmsNorm(8)
        self.classifier = nn.Conv2d(8, 3, 1)


@pytest.fixture
def model() -> Segmentor:
    return Segmentor(Tower(), Classifier(), [(Classifier(), 0.4)])


def config(**options: object) -> OptimizerConfig:
    return OptimizerConfig(**{"lr": LR, "weight_decay": DECAY, **options})  # type: ignore[arg-type]


def settings(model: Segmentor, **options: object) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay by parameter name; checks that every parameter lies in exactly one group."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, config(**options))
    found = [(names[id(p)], group) for group in groups for p in group["params"]]
    expected = sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    assert sorted(name for name, _ in found) == expected
    pairs = [(group["lr"], group["weight_decay"]) for group in groups]
    assert len(set(pairs)) == len(pairs), "groups of equal settings are one group"
    assert len({group["name"] for group in groups}) == len(groups)
    return {name: (group["lr"], group["weight_decay"]) for name, group in found}


def test_one_group_in_the_models_order_by_default(model: Segmentor) -> None:
    assert set(settings(model).values()) == {(LR, DECAY)}
    (group,) = parameter_groups(model, config())
    assert group["name"] == "backbone and head and auxiliary"
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]


def test_backbone_and_heads_learn_at_their_own_rates(model: Segmentor) -> None:
    for name, (lr, decay) in settings(model, backbone_lr=0.1, head_lr=10.0).items():
        assert lr == pytest.approx(LR * (0.1 if name.startswith("backbone.") else 10))
        assert decay == DECAY
    names = [group["name"] for group in parameter_groups(model, config(head_lr=10.0))]
    assert names == ["backbone", "head and auxiliary, lr ×10"]


def test_norms_are_found_by_their_type(model: Segmentor) -> None:
    without = {name for name, (_, decay) in settings(model, decay_norms=False).items() if decay == 0}
    assert without == {
        *(f"backbone.norm.{kind}" for kind in ("weight", "bias")),
        *(f"backbone.blocks.{b}.{n}.{kind}" for b in (0, 1) for n in (0, 2) for kind in ("weight", "bias")),
        "head.norm.weight",
        "auxiliary.0.norm.weight",
    }


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(4),
        nn.SyncBatchNorm(4),
        nn.InstanceNorm2d(4, affine=True),
        nn.GroupNorm(2, 4),
        nn.LayerNorm(4),
        nn.RMSNorm(4),
        timm.layers.GroupNorm1(4),
        timm.layers.GroupNormAct(4, 2),
        timm.layers.LayerNorm(4),
        timm.layers.LayerNormAct2d(4),
        timm.layers.RmsNorm(4),
        timm.layers.EvoNorm2dS0(32),
        timm.layers.FilterResponseNormTlu2d(4),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_every_kind_of_norm_is_known(norm: nn.Module) -> None:
    head = Classifier()
    head.norm = norm  # type: ignore[assignment]
    found = settings(Segmentor(Tower(), head), decay_norms=False)
    assert {decay for name, (_, decay) in found.items() if name.startswith("head.norm.")} == {0.0}
    assert found["head.classifier.weight"] == (LR, DECAY)


def test_an_activation_inside_a_norm_is_no_norm(model: Segmentor) -> None:
    model.head.norm = timm.layers.BatchNormAct2d(8, act_layer=nn.PReLU, inplace=False)
    found = settings(model, decay_norms=False)
    assert found["head.norm.weight"] == (LR, 0)
    assert found["head.norm.act.weight"] == (LR, DECAY)


def test_biases_are_those_of_other_layers(model: Segmentor) -> None:
    without = {name for name, (_, decay) in settings(model, decay_biases=False).items() if decay == 0}
    assert without == {
        "backbone.stem.bias",
        "backbone.blocks.0.1.bias",
        "backbone.blocks.1.1.bias",
        "backbone.attention.in_proj_bias",
        "backbone.attention.out_proj.bias",
        "head.classifier.bias",
        "auxiliary.0.classifier.bias",
    }


def test_rules_take_the_place_of_multipliers_and_the_last_wins(model: Segmentor) -> None:
    rules = [
        ParamRule(match="norm", weight_decay=0.0),
        ParamRule(match="head", lr=5.0, weight_decay=1.0),
        ParamRule(match="pos_embed", weight_decay=0.0),
        ParamRule(match="gamma", lr=0.0),
    ]
    found = settings(model, backbone_lr=0.1, decay_biases=False, rules=rules)
    assert found["backbone.norm.weight"] == pytest.approx((LR * 0.1, 0))
    assert found["head.norm.weight"] == pytest.approx((LR * 5, DECAY))
    assert found["head.classifier.bias"] == pytest.approx((LR * 5, DECAY))
    assert found["backbone.pos_embed"] == pytest.approx((LR * 0.1, 0))
    assert found["backbone.gamma"] == (0, DECAY)
    assert found["auxiliary.0.norm.weight"] == (LR, 0)


def test_a_rule_may_give_a_warmup(model: Segmentor) -> None:
    first, second = WarmupConfig(iterations=10), WarmupConfig(iterations=20, start=5)
    rules = [ParamRule(match="backbone.", warmup=first), ParamRule(match="pos_embed", weight_decay=0.0, warmup=second)]
    groups = parameter_groups(model, config(rules=rules))
    found = {group["name"]: group.get("warmup") for group in groups}
    assert found == {
        "backbone, warm-up from 0 to 10": first.model_dump(),
        "backbone, no weight decay, warm-up from 5 to 25": second.model_dump(),
        "head and auxiliary": None,
    }


def test_a_rule_that_matches_nothing_is_an_error(model: Segmentor) -> None:
    with pytest.raises(TrainingError, match=r"optimizer.rules.1: no parameter has 'pos_embd' .* mean 'pos_embed'\?"):
        rules = [ParamRule(match="norm", lr=2.0), ParamRule(match="pos_embd", weight_decay=0.0)]
        parameter_groups(model, config(rules=rules))


def test_a_rule_may_match_frozen_parameters_only(model: Segmentor) -> None:
    model.backbone.requires_grad_(False)
    settings(model, rules=[ParamRule(match="pos_embed", weight_decay=0.0)])


def test_frozen_parameters_are_left_out(model: Segmentor) -> None:
    model.backbone.requires_grad_(False)
    assert all(not name.startswith("backbone.") for name in settings(model))
    model.requires_grad_(False)
    with pytest.raises(TrainingError, match="nothing to train"):
        parameter_groups(model, config())


def test_layer_decay() -> None:
    model = Segmentor(DeepTower(), Classifier())
    found = settings(model, layer_decay=0.5, decay_norms=False, rules=[ParamRule(match="gamma", lr=2.0)])
    assert found["head.classifier.weight"] == (LR, DECAY)
    assert found["backbone.attention.in_proj_weight"] == pytest.approx((LR * 0.5, DECAY))
    assert found["backbone.blocks.1.1.weight"] == pytest.approx((LR * 0.5, DECAY))
    assert found["backbone.blocks.0.1.weight"] == pytest.approx((LR * 0.25, DECAY))
    assert found["backbone.stem.weight"] == pytest.approx((LR * 0.125, DECAY))
    assert found["backbone.norm.weight"] == pytest.approx((LR * 0.125, 0))
    assert found["backbone.gamma"] == pytest.approx((LR * 2 * 0.5, DECAY))


def test_layer_decay_needs_a_backbone_that_knows_its_layers(model: Segmentor) -> None:
    with pytest.raises(ModelError, match="Tower"):
        parameter_groups(model, config(layer_decay=0.9))
