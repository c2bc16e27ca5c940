"""Training end to end on tiny data: what a run learns, writes and refuses."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny
from torch import Tensor

import vitrail
from vitrail import checkpoints
from vitrail.errors import DatasetError, RecipeError, TrainingError
from vitrail.training import TrainingResult, train


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)


def run(folder: Path, *, resume: bool = False, **changes: Any) -> TrainingResult:
    return train(tiny.recipe(**changes), output_dir=folder, resume=resume, device="cpu")


def losses(result: TrainingResult) -> list[float]:
    return [record["loss"] for record in result.history if record["event"] == "train"]


def iteration_of(folder: Path) -> int:
    return int(torch.load(folder / "last.state.pt", weights_only=True)["iteration"])


def test_the_loss_falls_and_the_run_leaves_what_it_promises(tmp_path: Path) -> None:
    result = run(tmp_path / "run", train__iterations=60, train__eval_every=30, train__save_every=30)
    values = losses(result)
    assert len(values) == 60
    assert sum(values[-5:]) < 0.5 * sum(values[:5])
    assert result.evaluation.miou > 0.6
    assert not result.model.training and result.output_dir == tmp_path / "run"

    again = checkpoints.load_model(result.last)
    assert again.card is not None and again.card.classes == ("ground", "red", "blue")
    assert again.card.metrics["miou"] == pytest.approx(result.evaluation.miou)
    assert again.card.recipe["train"]["iterations"] == 60
    ours = result.model.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in again.state_dict().items())
    evaluations = [record for record in result.history if record["event"] == "evaluation"]
    best = checkpoints.load_model(result.best).card
    assert best is not None and best.metrics["miou"] == max(record["miou"] for record in evaluations)
    assert [record["iteration"] for record in evaluations] == [30, 60]

    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert lines == result.history
    assert "iteration 60/60" in (tmp_path / "run/train.log").read_text()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        *("best.safetensors", "last.safetensors", "last.state.pt", "previous.state.pt"),
        *("log.jsonl", "train.log"),
    }


def test_epochs_count_in_batches_and_evaluate_by_epoch(tmp_path: Path) -> None:
    changes = {"train__iterations": None, "train__epochs": 2, "train__eval_every": 1, "train__save_every": None}
    result = run(tmp_path, **changes, train__batch_size=8)
    events = [(record["event"], record["iteration"], record["epoch"]) for record in result.history]
    assert events[0] == ("start", 0, 0)
    assert [event for event in events if event[0] == "evaluation"] == [("evaluation", 3, 1), ("evaluation", 6, 2)]


def test_a_run_leaves_the_random_state_alone_and_depends_on_its_seed_only(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = run(tmp_path / "a", train__iterations=3, data__workers=2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert losses(run(tmp_path / "b", train__iterations=3)) == losses(first)
    assert losses(run(tmp_path / "c", train__iterations=3, train__seed=1)) != losses(first)


def test_parts_of_a_batch_add_up_to_the_batch(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", train__iterations=5)
    parts = run(tmp_path / "parts", train__iterations=5, train__accumulate=4)
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-5)
    for ours, theirs in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_clipping_bounds_the_step(tmp_path: Path) -> None:
    plain = {"optimizer__options__momentum": 0.0, "optimizer__weight_decay": 0.0, "schedule__name": "constant"}
    free = run(tmp_path / "free", train__iterations=1, **plain)
    clipped = run(tmp_path / "clipped", train__iterations=1, train__clip_grad_norm=0.01, **plain)
    start = run(tmp_path / "start", train__iterations=1, **{**plain, "optimizer__lr": 1e-30})

    def distance(model: torch.nn.Module) -> float:
        pairs = zip(model.parameters(), start.model.parameters(), strict=True)
        return float(torch.stack([(a - b).detach().square().sum() for a, b in pairs]).sum().sqrt())

    assert distance(clipped.model) == pytest.approx(0.05 * 0.01, rel=1e-3)
    assert distance(free.model) > 2 * distance(clipped.model)


@pytest.mark.parametrize("amp", ["bfloat16", "float16"])
def test_half_precision_trains_with_full_precision_weights(tmp_path: Path, amp: str) -> None:
    result = run(tmp_path, train__iterations=40, train__amp=amp, train__save_every=40)
    values = losses(result)
    assert sum(values[-5:]) < 0.6 * sum(values[:5])
    assert all(parameter.dtype == torch.float32 for parameter in result.model.parameters())
    scaler = torch.load(tmp_path / "last.state.pt", weights_only=True)["scaler"]
    assert bool(scaler) == (amp == "float16")


def test_frozen_norms_stay_as_they_are(tmp_path: Path) -> None:
    changes = {"model__segmentor": "fastscnn", "train__iterations": 2, "train__eval_every": 1}
    result = run(tmp_path, **changes, train__freeze_norms=True)
    state = result.model.state_dict()
    for name, module in result.model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            untouched = torch.equal(module.running_mean, torch.zeros_like(module.running_mean))
            assert untouched == name.startswith("backbone."), name
            assert torch.equal(module.weight, torch.ones_like(module.weight)) == name.startswith("backbone."), name
    assert checkpoints.load_model(result.last).state_dict().keys() == state.keys()


def test_the_average_is_evaluated_and_returned(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain", train__iterations=4)
    result = run(tmp_path / "average", train__iterations=4, train__ema=0.9)
    assert losses(result) == losses(plain)
    state = torch.load(tmp_path / "average/last.state.pt", weights_only=True)
    for name, value in result.model.state_dict().items():
        assert torch.equal(value, state["average"][f"module.{name}"])
        assert torch.equal(plain.model.state_dict()[name], state["model"][name])
    assert any(not torch.equal(state["model"][name], value) for name, value in result.model.state_dict().items())


def test_compiled_training_keeps_the_names_of_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run(tmp_path / "plain", train__iterations=3)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    compiled = run(tmp_path / "compiled", train__iterations=3, train__compile="inductor")
    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-5)
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()


class Poison(torch.autograd.Function):
    """The identity, with a gradient that is not a number."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * float("nan")


def at_call(monkeypatch: pytest.MonkeyPatch, number: int, change: Any) -> None:
    """Let the tiny head change its logits in one training step."""
    forward, calls = tiny.TinyHead.forward, iter(range(1, 1000))

    def changed(self: Any, features: Any) -> Tensor:
        logits = forward(self, features)
        return change(logits) if self.training and next(calls) == number else logits

    monkeypatch.setattr(tiny.TinyHead, "forward", changed)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        at_call(patch, 7, lambda logits: logits * float("nan"))
        with pytest.raises(TrainingError, match=r"no longer finite at iteration 7 \(seg=nan\).*of iteration 4"):
            run(tmp_path, train__log_every=50)
    assert iteration_of(tmp_path) == 4
    assert run(tmp_path, resume=True).evaluation.images == 5


@pytest.mark.parametrize("why", ["ignored", "weight"])
def test_a_loss_of_nothing_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    load = tiny.TinySource.load
    label = {"ignored": 255, "weight": 1}[why]

    def one_label(self: Any, index: int) -> Any:
        image, mask = load(self, index)
        return image, torch.full_like(mask, label)

    monkeypatch.setattr(tiny.TinySource, "load", one_label)
    losses = [{"name": "cross_entropy", "options": {"class_weights": [1.0, 0.0, 1.0]}}]
    run(tmp_path, train__iterations=3, model__losses=losses, data__augment={"crop": None})
    assert caplog.text.count("the loss was exactly 0") == 1
    assert ("mIoU –" in (tmp_path / "train.log").read_text()) == (why == "ignored")


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_call(monkeypatch, 8, Poison.apply)
    with pytest.raises(TrainingError, match=r"weights are no longer finite after iteration 8.*of iteration 4"):
        run(tmp_path)
    assert iteration_of(tmp_path) == 4


@pytest.fixture
def small_files() -> Iterator[Any]:
    """A function that makes the system refuse to write more than so many bytes to a file, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_files: Any
) -> None:
    at_call(monkeypatch, 6, lambda logits: (small_files(10_000), logits)[1])
    with pytest.raises(TrainingError, match=r"cannot save iteration 8 in .*of iteration 4.*make room and resume"):
        run(tmp_path)
    small_files(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    assert iteration_of(tmp_path) == 4
    assert checkpoints.load_model(tmp_path / "last.safetensors")
    assert not list(tmp_path.glob(".*"))


def test_a_disk_with_room_for_the_model_only(tmp_path: Path, small_files: Any) -> None:
    """The state of a run is larger than its model; the system's reason is told, not what torch makes of it."""
    run(tmp_path / "first", train__iterations=1)
    model, state = ((tmp_path / "first" / name).stat().st_size for name in ("last.safetensors", "last.state.pt"))
    small_files((model + state) // 2)
    with pytest.raises(TrainingError, match=r"cannot save .*File too large; no checkpoint .*make room and start again"):
        run(tmp_path / "second")
    small_files(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    assert not (tmp_path / "second/last.state.pt").exists()
    run(tmp_path / "second", train__iterations=1)  # as the message says: start again
    assert iteration_of(tmp_path / "second") == 1


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"batch_size=27 is larger than the dataset of 26 images"):
        run(tmp_path, train__batch_size=27)
    with pytest.raises(RecipeError, match=r"num_classes is 4, but dataset 'tiny' has 3"):
        run(tmp_path, model__num_classes=4)
    with pytest.raises(TrainingError, match=r"one image at a time .* raise train\.batch_size"):
        run(tmp_path, model__segmentor="fastscnn", train__batch_size=1)
    with pytest.raises(TrainingError, match=r"nothing to resume in"):
        run(tmp_path, resume=True)
    with pytest.raises(RecipeError, match=r"pspnet_resnet50os8_ade20k"):
        vitrail.train("pspnet_resnet50os8_ade20", output_dir=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"cannot write to the output folder"):
        run(tmp_path / "file" / "below")


def test_overrides_and_root_reach_the_run(tmp_path: Path) -> None:
    result = train(
        tiny.recipe(), output_dir=tmp_path, overrides=["train.iterations=1"], data_root="somewhere", device="cpu"
    )
    assert len(losses(result)) == 1
    assert result.model.card is not None and result.model.card.recipe["data"]["root"] == "somewhere"


def test_a_broken_image_is_reported_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Any, index: int) -> Any:
        raise DatasetError("image train3.png is truncated")

    monkeypatch.setattr(tiny.TinySource, "load", load)
    with pytest.raises(DatasetError) as caught:
        run(tmp_path, data__workers=1)
    assert str(caught.value) == "image train3.png is truncated"
