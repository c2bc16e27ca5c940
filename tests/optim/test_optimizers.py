"""Optimizers by name: PyTorch's, timm's and one's own, with options that are checked."""

from __future__ import annotations

from typing import Any

import pytest
import timm.optim
import torch
from torch import Tensor, nn

from vitrail.backbones import Backbone
from vitrail.errors import TrainingError
from vitrail.optim import OPTIMIZERS, create_optimizer, list_optimizers, register_optimizer
from vitrail.recipes import OptimizerConfig
from vitrail.segmentors import Head, Segmentor

LR, DECAY = 0.01, 0.05


class Stem(Backbone):
    channels, strides = (8,), (1,)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.stem(images)]


class Classifier(Head):
    def __init__(self) -> None:
        super().__init__(3)
        self.norm = nn.BatchNorm2d(8)
        self.classifier = nn.Conv2d(8, 3, 1)

    def forward(self, features: Any) -> Tensor:
        return self.classifier(self.norm(features[-1]))


@pytest.fixture
def model() -> Segmentor:
    return Segmentor(Stem(), Classifier())


def config(name: str, **options: Any) -> OptimizerConfig:
    return OptimizerConfig(name=name, lr=LR, weight_decay=DECAY, head_lr=2.0, options=options)


@pytest.mark.parametrize(
    ("name", "kind", "options", "defaults"),
    [
        ("sgd", torch.optim.SGD, {"momentum": 0.8, "nesterov": True}, {"momentum": 0.9, "nesterov": False}),
        ("adam", torch.optim.Adam, {"betas": [0.7, 0.9], "eps": 1e-5}, {"betas": (0.9, 0.999), "eps": 1e-8}),
        ("adamw", torch.optim.AdamW, {"betas": [0.7, 0.9], "eps": 1e-5}, {"betas": (0.9, 0.999), "eps": 1e-8}),
        ("lion", timm.optim.Lion, {"betas": [0.95, 0.98]}, {"betas": (0.9, 0.99)}),
        ("nesterov", torch.optim.SGD, {"momentum": 0.8}, {"momentum": 0.9, "nesterov": True}),
        ("rmsproptf", timm.optim.RMSpropTF, {"alpha": 0.95}, {"alpha": 0.9, "momentum": 0.9}),
    ],
)
def test_names_options_and_defaults(
    model: Segmentor, name: str, kind: type, options: dict[str, Any], defaults: dict[str, Any]
) -> None:
    for given, expected in ((options, options), ({}, defaults)):
        optimizer = create_optimizer(model, config(name, **given))
        assert type(optimizer) is kind
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([LR, 2 * LR])
        for group in optimizer.param_groups:
            assert {key: group[key] for key in expected} == {
                key: tuple(value) if isinstance(value, list) else value for key, value in expected.items()
            }
            assert group["weight_decay"] == DECAY
        assert optimizer.defaults["lr"] == LR
        names = [group["name"] for group in optimizer.state_dict()["param_groups"]]
        assert names == ["backbone", "head, lr ×2"]


@pytest.mark.parametrize("name", list_optimizers())
def test_every_optimizer_lowers_the_loss_and_restores_its_state(model: Segmentor, name: str) -> None:
    images, targets = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    optimizer = create_optimizer(model, OptimizerConfig(name=name, lr=1e-3, weight_decay=0.0))

    def step() -> float:
        loss = nn.functional.cross_entropy(model.head(model.backbone(images)), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    losses = [step() for _ in range(8)]
    assert losses[-1] < losses[0]
    again = create_optimizer(model, OptimizerConfig(name=name, lr=1e-3, weight_decay=0.0))
    again.load_state_dict(optimizer.state_dict())
    assert again.state_dict()["state"].keys() == optimizer.state_dict()["state"].keys()


def test_there_are_dozens() -> None:
    assert len(list_optimizers()) >= 50  # of timm alone
    assert {"sgd", "adamw", "lion", "lamb", "adan", "muon", "nadamw"} <= set(list_optimizers())


def test_mistakes_are_named(model: Segmentor) -> None:
    with pytest.raises(TrainingError, match=r"unknown optimizer 'adamw2'. Did you mean 'adamw'"):
        create_optimizer(model, config("adamw2"))
    with pytest.raises(TrainingError, match=r"optimizer 'adamw' takes no argument 'momentum'.* It takes: betas, eps"):
        create_optimizer(model, config("adamw", momentum=0.9))
    with pytest.raises(TrainingError, match=r"optimizer 'sgd' takes no argument 'lr'"):
        create_optimizer(model, config("sgd", lr=0.1))
    with pytest.raises(TrainingError, match=r"optimizer 'lion' takes no argument 'eps'"):
        create_optimizer(model, config("lion", eps=1e-8))
    with pytest.raises(TrainingError, match=r"optimizer 'lamb': eps must be float, not 'small'"):
        create_optimizer(model, config("lamb", eps="small"))
    with pytest.raises(TrainingError, match=r"optimizer 'adamw': Invalid beta parameter"):
        create_optimizer(model, config("adamw", betas=[1.5, 0.9]))


def test_an_optimizer_of_ones_own_is_found_by_its_name(model: Segmentor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPTIMIZERS, "_entries", dict(OPTIMIZERS._entries))

    @register_optimizer("heavy_ball")
    def heavy_ball(groups: Any, lr: float, weight_decay: float, *, mass: float = 0.5) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, lr=lr, weight_decay=weight_decay, momentum=mass)

    assert create_optimizer(model, config("heavy_ball", mass=0.75)).param_groups[0]["momentum"] == 0.75
