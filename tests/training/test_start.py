"""Starting from a trained model, freezing by name, and ending a run before its plan does."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny

import vitrail
from vitrail import checkpoints
from vitrail.errors import CheckpointError, RecipeError, TrainingError
from vitrail.recipes import EarlyStoppingConfig, TrainConfig, load_recipe
from vitrail.training import TrainingResult, TrainingRun, train
from vitrail.training.freeze import freeze_by_name
from vitrail.training.plan import make_plan
from vitrail.training.stopping import no_improvement


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)


def run(folder: Path, *, resume: bool = False, start_from: Path | str | None = None, **changes: Any) -> TrainingResult:
    recipe = tiny.recipe(**{"train__iterations": 4, **changes})
    return train(recipe, output_dir=folder, resume=resume, start_from=start_from, device="cpu")


def trained(folder: Path, classes: tuple[str, ...] = ("sky", "blue", "ground")) -> tuple[Path, vitrail.Segmentor]:
    """Save a model with random weights of other classes, of which blue and ground are those of the tiny data."""
    config = tiny.recipe().model
    model = vitrail.create_model("tiny", num_classes=len(classes))
    model.card = vitrail.ModelCard(
        classes,
        tuple((0, 0, index) for index in range(len(classes))),
        recipe={"model": config.model_dump(mode="json")},
        name="elder",
        source="https://example.org/elder",
        license="CC-BY-4.0",
    )
    vitrail.save(model, folder / "elder.safetensors")
    return folder / "elder.safetensors", model


def test_a_run_starts_from_a_model_says_so_and_carries_its_licence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, elder = trained(tmp_path)
    started = TrainingRun(tiny.recipe(train__loggers=[]), output_dir=tmp_path / "run", start_from=file, device="cpu")
    started.setup()
    ours, theirs = started.model.state_dict(), elder.state_dict()
    assert torch.equal(ours["backbone.stem.weight"], theirs["backbone.stem.weight"])
    assert torch.equal(ours["head.classifier.bias"][[0, 2]], theirs["head.classifier.bias"][[2, 1]])
    assert not torch.equal(ours["head.classifier.bias"][1], theirs["head.classifier.bias"][0])

    result = run(tmp_path / "again", start_from=file)
    record = result.history[0]["started_from"]
    assert record["classes"] == {"kept": ["ground", "blue"], "new": ["red"], "dropped": ["sky"]}
    assert (record["taken"], record["new"], record["left_out"]) == (4, [], [])
    log = (tmp_path / "again/train.log").read_text()
    assert log in capsys.readouterr().err.replace("\r", "")
    assert "starting from elder.safetensors (elder): 4 of 6 tensors taken, 2 by class, 0 new, 0 of the trained" in log
    assert "classes kept: ground, blue\n" in log and "classes dropped: sky\n" in log
    for path in (result.best, result.last):
        card = checkpoints.load_model(path).card
        assert card is not None and card.license == "CC-BY-4.0"
        assert card.started_from == "elder.safetensors (https://example.org/elder)"
        assert card.recipe["train"]["start_from"] == str(file)

    once_more = run(tmp_path / "third", start_from=result.best).model.card
    assert once_more is not None and once_more.license == "CC-BY-4.0"
    assert once_more.started_from == "best.safetensors, started from elder.safetensors (https://example.org/elder)"


def test_a_resumed_run_keeps_its_start_and_reads_no_other(tmp_path: Path) -> None:
    file, _ = trained(tmp_path)
    whole = run(tmp_path / "whole", start_from=file, train__iterations=12)
    run(tmp_path / "run", start_from=file, train__iterations=12, train__max_minutes=1e-6)
    file.unlink()
    resumed = run(tmp_path / "run", resume=True, start_from="not_there.safetensors", train__iterations=12)
    card = checkpoints.load_model(resumed.last).card
    assert card is not None and card.started_from.startswith("elder.safetensors") and card.license == "CC-BY-4.0"
    log = (tmp_path / "run/train.log").read_text()
    assert f"train.start_from=not_there.safetensors is not used: it was started from {file}" in log
    ours = resumed.model.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in whole.model.state_dict().items())


def test_pretrained_weights_are_not_fetched_when_a_model_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("vitrail.training.setup.build_model", lambda config, count: asked.append(config.pretrained))
    file, _ = trained(tmp_path)
    for start_from in (None, file):
        run_ = TrainingRun(tiny.recipe(model__pretrained=True), output_dir=tmp_path / "x", start_from=start_from)
        with pytest.raises(AttributeError):
            run_.setup()
    assert asked == [True, False]


def test_mistakes_about_the_start_are_errors(tmp_path: Path) -> None:
    file, elder = trained(tmp_path)
    with pytest.raises(CheckpointError, match="no model file at"):
        run(tmp_path / "a", start_from=tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"elder\.safetensors does not fit: it is tiny on tiny, .* fastscnn on"):
        run(tmp_path / "b", start_from=file, model__segmentor="fastscnn")
    with pytest.raises(TrainingError, match="a ready model"):
        TrainingRun(tiny.recipe(), output_dir=tmp_path / "c", model=elder, start_from=file)


def test_parameters_are_frozen_by_name(tmp_path: Path) -> None:
    frozen = ["backbone.stem", "classifier.bias"]
    started = TrainingRun(tiny.recipe(train__loggers=[]), output_dir=tmp_path / "run", device="cpu")
    started.setup()
    before = {name: value.clone() for name, value in started.model.state_dict().items()}
    result = run(tmp_path / "run2", train__freeze=frozen)
    same = {name for name, value in result.model.state_dict().items() if torch.equal(value, before[name])}
    assert same == {"backbone.stem.weight", "backbone.stem.bias", "head.classifier.bias"}
    assert result.history[0]["frozen_parameters"] == 8 * 27 + 8 + 3
    assert "frozen: 227 of" in (tmp_path / "run2/train.log").read_text()
    with pytest.raises(TrainingError, match=r"train\.freeze: no parameter has 'backbone\.stam' in its name"):
        run(tmp_path / "other", train__freeze=["backbone.stam"])
    with pytest.raises(TrainingError, match="nothing to train"):
        run(tmp_path / "all", train__freeze=["backbone.", "head."])


def test_freezing_by_name_keeps_statistics_and_adds_to_frozen_stages() -> None:
    model = vitrail.create_model("fastscnn", num_classes=3).train()
    model.backbone.freeze_stages(0)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    freeze_by_name(model, ["head."])
    now = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert now == frozen | {name for name, _ in model.head.named_parameters(prefix="head")}
    before = {name: value.clone() for name, value in model.named_buffers() if "running_mean" in name}
    model(torch.randn(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.long))
    moved = {name for name, value in model.named_buffers() if name in before and not torch.equal(value, before[name])}
    assert moved and not any(name.startswith("head.") for name in moved)


def test_a_run_stops_when_its_figures_do_not_rise(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "optimizer__lr": 1e-4,
        "train__iterations": 40,
        "train__eval_every": 2,
        "train__early_stopping": {"patience": 2, "min_delta": 1.0},
    }
    result = run(tmp_path / "run", **changes)
    assert result.history[-1]["event"] == "stop" and result.history[-1]["iteration"] == 6
    assert "early stopping: miou has not risen above" in (tmp_path / "run/train.log").read_text()
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert lines == result.history
    again = run(tmp_path / "run", resume=True, **changes)
    assert again.history == result.history
    assert "is complete: 6 iterations (early stopping" in (tmp_path / "run/train.log").read_text()
    more = run(tmp_path / "run", resume=True, **{**changes, "train__early_stopping": {"patience": 4, "min_delta": 1.0}})
    assert more.history[-1]["iteration"] == 10


def test_patience_counts_evaluations_since_the_best() -> None:
    def reason(*values: float | None, **options: Any) -> str | None:
        records = [{"event": "evaluation", "miou": value, "macc": 0.5} for value in values]
        return no_improvement(EarlyStoppingConfig(patience=2, **options), [{"event": "train"}, *records])

    assert reason(0.1, 0.2, 0.19) is None
    assert reason(0.1, 0.2, 0.19, 0.2) is not None
    assert reason(0.1, 0.2, 0.19, 0.21) is None
    assert reason(0.1, 0.11, 0.12, min_delta=0.05) is not None
    assert reason(None, None) is not None
    assert reason(0.1, 0.2, 0.3, metric="macc") is not None
    assert no_improvement(None, [{"event": "evaluation", "miou": 0.0}] * 9) is None
    with pytest.raises(RecipeError, match=r"early_stopping needs train\.eval_every"):
        tiny.recipe(train__early_stopping={"patience": 2})


def test_a_time_budget_saves_and_can_be_resumed(tmp_path: Path) -> None:
    result = run(tmp_path / "run", train__iterations=12, train__max_minutes=1e-6)
    assert result.history[-1]["event"] == "stop" and result.history[-1]["iteration"] == 1
    assert [record["iteration"] for record in result.history if record["event"] == "evaluation"] == [1]
    assert "stopped after train.max_minutes=1e-06; --resume goes on" in (tmp_path / "run/train.log").read_text()
    resumed = run(tmp_path / "run", resume=True, train__iterations=12)
    whole = run(tmp_path / "whole", train__iterations=12)
    ours = resumed.model.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in whole.model.state_dict().items())
    begin = time.monotonic()
    run(tmp_path / "short", train__iterations=10**6, train__max_minutes=0.02)
    assert 1 < time.monotonic() - begin < 20


def test_the_length_of_a_run_follows_the_number_of_images() -> None:
    def plan(images: int) -> tuple[int, int]:
        made = make_plan(TrainConfig(iterations="auto", batch_size=8), images)
        return made.iterations, made.eval_every

    assert plan(10) == (400, 40)
    assert plan(800) == (4000, 400)
    assert plan(10**6) == (20_000, 2000)


def test_a_longer_run_takes_its_place_in_the_longer_schedule(tmp_path: Path) -> None:
    run(tmp_path / "run", train__iterations=6)
    longer = run(tmp_path / "run", resume=True, train__iterations=12)
    whole = run(tmp_path / "whole", train__iterations=12)
    rates = {record["iteration"]: record["lr"] for record in longer.history if record["event"] == "train"}
    expected = {record["iteration"]: record["lr"] for record in whole.history if record["event"] == "train"}
    assert {at: rate for at, rate in rates.items() if at > 6} == {at: rate for at, rate in expected.items() if at > 6}
    log = (tmp_path / "run/train.log").read_text()
    assert "12 iterations long instead of 6" in log and f"{expected[7]:.2e} where it was 0.00e+00" in log
    run(tmp_path / "run", resume=True, train__iterations=12)
    assert (tmp_path / "run/train.log").read_text().count("long instead of") == 1


def test_a_warm_up_that_outlasts_the_run_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path / "a", schedule__warmup={"iterations": 8, "ratio": 0.0})
    assert "schedule.warmup ends at iteration 8, and the run has 4" in caplog.text
    advice = caplog.text.partition("schedule.warmup.iterations=")[2].partition(".")[0]
    caplog.clear()
    run(tmp_path / "b", schedule__warmup={"iterations": int(advice), "ratio": 0.0})
    assert "warm-up" not in caplog.text
    rule = {"match": "backbone.", "warmup": {"start": 5, "iterations": 8}}
    run(tmp_path / "c", optimizer__rules=[rule])
    assert "optimizer.rules.0.warmup ends at iteration 13, and the run has 4" in caplog.text
    advice = re.findall(r"optimizer\.rules\.0\.warmup\.(\w+)=(\d+)", caplog.text)
    caplog.clear()
    run(tmp_path / "d", optimizer__rules=[{**rule, "warmup": {key: int(value) for key, value in advice}}])
    assert "warm-up" not in caplog.text


def test_a_recipe_for_fine_tuning_can_be_given_in_epochs() -> None:
    train_section = load_recipe("fastscnn_finetune", ["train.epochs=3"]).train
    assert (train_section.epochs, train_section.iterations) == (3, None)
