"""Runs from ready models and datasets, with steps of one's own, with frozen stages and activation checkpointing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny
from torch import Tensor, nn

from vitrail import checkpoints, create_model
from vitrail.datasets.dataset import SegmentationDataset
from vitrail.errors import CheckpointError, ModelError, TrainingError
from vitrail.evaluation import Evaluation
from vitrail.runtime.distributed import STRATEGIES, Strategy, register_strategy
from vitrail.segmentors import Head, Segmentor
from vitrail.training import TrainingResult, TrainingRun, train


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)


def run(folder: Path, **changes: Any) -> TrainingResult:
    return train(tiny.recipe(**changes), output_dir=folder, device="cpu")


def dataset(split: str) -> SegmentationDataset:
    return SegmentationDataset(tiny.BENCHMARK, tiny.TinySource(split))


def losses(result: TrainingResult) -> list[float]:
    return [record["loss"] for record in result.history if record["event"] == "train"]


def test_ready_model_and_datasets_train_as_the_recipes_own(tmp_path: Path) -> None:
    recipe = tiny.recipe(train__iterations=3)
    expected = train(recipe, output_dir=tmp_path / "recipe", device="cpu")
    torch.manual_seed(recipe.train.seed)  # as a run does before it builds its model
    model = create_model("tiny", num_classes=3)
    parts = {"model": model, "train_dataset": dataset("train"), "eval_dataset": dataset("val")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = TrainingRun(recipe, output_dir=tmp_path / "ready", device="cpu", **parts).run()  # type: ignore[arg-type]
    assert losses(result) == losses(expected)
    assert result.model is model
    assert torch.equal(result.evaluation.confusion, expected.evaluation.confusion)
    card = checkpoints.load_model(result.last).card
    assert card is not None and result.model.card is not None
    assert (card.recipe, card.metrics) == (result.model.card.recipe, result.model.card.metrics)
    resumed = TrainingRun(
        tiny.recipe(train__iterations=4), output_dir=tmp_path / "ready", resume=True, device="cpu", **parts
    ).run()  # type: ignore[arg-type]
    assert losses(resumed)[:3] == losses(expected) and len(losses(resumed)) == 4


def test_a_ready_datasets_own_transform_is_kept(tmp_path: Path) -> None:
    seen: list[str] = []

    def crop(sample: dict[str, Any]) -> dict[str, Any]:
        seen.append(sample["id"])
        return {**sample, "image": sample["image"][:, :32, :32], "mask": sample["mask"][:32, :32]}

    own = SegmentationDataset(tiny.BENCHMARK, tiny.TinySource("train"), crop)
    TrainingRun(tiny.recipe(train__iterations=2), output_dir=tmp_path, device="cpu", train_dataset=own).run()
    assert len(seen) >= 8


class OtherHead(Head):
    def __init__(self) -> None:
        super().__init__(3)
        self.layers = nn.Sequential(nn.Conv2d(8, 5, 1), nn.ReLU(), nn.Conv2d(5, 3, 1))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.layers(features[-1])


def test_a_model_that_the_recipe_does_not_describe_trains_with_a_warning(tmp_path: Path) -> None:
    model = Segmentor(tiny.TinyBackbone(), OtherHead())
    with pytest.warns(UserWarning, match=r"vitrail.load will not be able to rebuild it .*register_segmentor"):
        result = TrainingRun(tiny.recipe(train__iterations=2), output_dir=tmp_path, device="cpu", model=model).run()
    with pytest.raises(CheckpointError):  # as the warning says
        checkpoints.load_model(result.last)
    with pytest.raises(TrainingError, match=r"the model has 5 classes, but dataset 'tiny' has 3: .*num_classes=3"):
        other = create_model("tiny", num_classes=5)
        TrainingRun(tiny.recipe(), output_dir=tmp_path / "five", device="cpu", model=other).run()


def test_steps_can_be_overridden(tmp_path: Path) -> None:
    calls: list[str] = []

    class OwnRun(TrainingRun):
        def compute_losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
            return {
                **super().compute_losses(images, targets),
                "penalty": self.model.head.classifier.weight.square().sum(),
            }  # type: ignore[union-attr, operator]

        def optimizer_step(self) -> float:
            calls.append(f"step {self.state.iteration}")
            return super().optimizer_step()

        def evaluate(self) -> Evaluation:
            calls.append("evaluate")
            return super().evaluate()

        def save(self, evaluation: Evaluation | None) -> None:
            calls.append(f"save {self.state.iteration}")
            super().save(evaluation)

    result = OwnRun(tiny.recipe(train__iterations=2), output_dir=tmp_path, device="cpu").run()
    assert calls == ["step 0", "step 1", "evaluate", "save 2"]
    assert set(result.history[1]["losses"]) == {"seg", "penalty"}
    assert result.history[1]["losses"]["penalty"] > 0


def test_a_strategy_of_ones_own_wraps_saves_and_restores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that replaces the parameters, as sharding does, and keeps them under other names until they are saved."""
    monkeypatch.setattr(STRATEGIES, "_entries", dict(STRATEGIES._entries))

    @register_strategy("replacing")
    class Replacing(Strategy):
        def _replace(self, module: nn.Module) -> None:
            for child in module.modules():
                for name, parameter in list(child.named_parameters(recurse=False)):
                    setattr(child, name, nn.Parameter(parameter.detach().clone(), parameter.requires_grad))

        def wrap(self, model: nn.Module) -> nn.Module:
            self._replace(model)
            return model

        def shard_copy(self, copy: Any) -> Any:
            self._replace(copy)
            return copy

        def model_state(self, module: nn.Module) -> dict[str, Any]:
            return {f"sharded {name}": value for name, value in module.state_dict().items()}

        def load_model_state(self, module: nn.Module, state: Any) -> None:
            module.load_state_dict({name.removeprefix("sharded "): value for name, value in state.items()})

    changes = {"train__ema": 0.9, "train__iterations": 4, "train__save_every": 2}
    plain = run(tmp_path / "plain", **changes)
    own = {**changes, "train__strategy": "replacing"}
    result = run(tmp_path / "own", **own)
    assert losses(result) == losses(plain)
    ours, theirs = result.model.state_dict(), plain.model.state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())
    longer = tiny.recipe(**{**own, "train__iterations": 6})
    resumed = train(longer, output_dir=tmp_path / "own", resume=True, device="cpu")
    assert len(losses(resumed)) == 6
    with pytest.raises(TrainingError, match=r"train.strategy=ddp needs several processes: .*torchrun"):
        run(tmp_path / "ddp", train__strategy="ddp")


RESNET = {
    "model__segmentor": "fcn",
    "model__backbone": "resnet18",
    "train__iterations": 1,
    "data__augment": {"crop": [64, 64]},
    "train__batch_size": 2,
}


def test_frozen_stages_stay_as_they_are_and_the_others_learn(tmp_path: Path) -> None:
    start = TrainingRun(tiny.recipe(**RESNET), output_dir=tmp_path / "start", device="cpu")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start.train_dataset, start.eval_dataset = start.create_datasets()
        before = {name: value.clone() for name, value in start.create_model().state_dict().items()}
    result = run(tmp_path / "frozen", **RESNET, train__freeze_stages=2)
    stages = result.model.backbone.parameter_stages()
    changed = {name for name, value in result.model.state_dict().items() if not torch.equal(value, before[name])}
    assert {f"backbone.{name}" for name, stage in stages.items() if stage > 2 and name.endswith("weight")} <= changed
    frozen = [name.rpartition(".")[0] for name, stage in stages.items() if stage <= 2]
    assert len(frozen) > 20
    assert not [name for name in changed if name.startswith(tuple(f"backbone.{module}." for module in frozen))]
    assert any(name.endswith("running_mean") for name in changed)


def test_mistakes_about_stages_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"train.freeze_stages is 9, but the backbone has 4 stages: lower it"):
        run(tmp_path / "nine", **RESNET, train__freeze_stages=9)
    with pytest.raises(ModelError, match=r"TinyBackbone"):
        run(tmp_path / "tiny", train__freeze_stages=1)


@pytest.mark.parametrize("freeze_norms", [True, False])
def test_activation_checkpointing_gives_the_same_gradients_and_keeps_less(tmp_path: Path, freeze_norms: bool) -> None:
    gradients: list[dict[str, Tensor]] = []
    kept: list[int] = []

    class Watched(TrainingRun):
        def compute_losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
            sizes: dict[int, int] = {}  # bytes that the forward pass keeps for the backward pass, by address

            def pack(tensor: Tensor) -> Tensor:
                sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                losses = super().compute_losses(images, targets)
            kept.append(sum(sizes.values()))
            return losses

        def optimizer_step(self) -> float:
            gradients.append({n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None})
            return super().optimizer_step()

    for enabled in (False, True):
        recipe = tiny.recipe(**RESNET, train__activation_checkpointing=enabled, train__freeze_norms=freeze_norms)
        Watched(recipe, output_dir=tmp_path / str(enabled), device="cpu").run()
    plain, checkpointed = gradients
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-4, atol=1e-6)
    weights = 4 * sum(gradient.numel() for gradient in plain.values())
    assert kept[1] - weights < 0.7 * (kept[0] - weights)
