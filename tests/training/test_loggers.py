"""Loggers: what each writes, what a resumed run does to it, and a missing library."""

from __future__ import annotations

import importlib
import json
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny

from vitrail.errors import RecipeError, TrainingError
from vitrail.training import TrainingResult, train
from vitrail.training.loggers import LOGGERS, Logger, Picture, RunInfo, list_loggers, register_logger


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)


def run(folder: Path, *, resume: bool = False, **changes: Any) -> TrainingResult:
    return train(tiny.recipe(**changes), output_dir=folder, resume=resume, device="cpu")


def losses(result: TrainingResult) -> list[tuple[int, float]]:
    return [(record["iteration"], record["loss"]) for record in result.history if record["event"] == "train"]


def test_text_and_jsonl_are_the_default(tmp_path: Path) -> None:
    result = run(tmp_path, train__iterations=2)
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == result.history
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert lines[0].startswith("training tiny on cpu: 0.00 M parameters, 26 images, 6 iterations per epoch, iterations")
    assert lines[1].startswith(f"epoch 1/1  iteration 1/2  loss {result.history[1]['loss']:.4f}  lr 5.00e-02")
    assert lines[3].startswith(f"epoch 1/1  iteration 2/2  mIoU {100 * result.evaluation.miou:.2f}")


def test_none_at_all_writes_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(tmp_path, train__iterations=2, train__loggers=[])
    assert len(losses(result)) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"best.safetensors", "last.safetensors", "last.state.pt"}
    assert capsys.readouterr().err == ""


def tensorboard_of(folder: Path) -> Any:
    name = "tensorboard.backend.event_processing.event_accumulator"
    accumulator = pytest.importorskip(name, reason="TensorBoard is not installed ([logging])")
    return accumulator.EventAccumulator(str(folder / "tensorboard")).Reload()


def test_tensorboard_shows_curves_and_pictures_and_is_purged_on_resume(tmp_path: Path) -> None:
    loggers = ["jsonl", "tensorboard"]
    result = run(tmp_path, train__iterations=2, train__loggers=loggers)
    events = tensorboard_of(tmp_path)
    assert {"train/loss", "train/lr", "evaluation/miou", "evaluation/iou/red"} <= set(events.Tags()["scalars"])
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [
        (step, pytest.approx(loss)) for step, loss in losses(result)
    ]
    assert "prediction/val0" in events.Tags()["images"]
    assert not (tmp_path / "train.log").exists()

    longer = run(tmp_path, resume=True, train__iterations=4, train__loggers=loggers)
    assert [event.step for event in tensorboard_of(tmp_path).Scalars("train/loss")] == [1, 2, 3, 4]
    assert len(losses(longer)) == 4


def leveldb_records(data: bytes, start: int) -> Iterator[bytes]:
    """The records of a file in LevelDB's log format: blocks of 32 KiB, records in one part or several."""
    position, record = start, b""
    while position + 7 <= len(data):
        if -position % 32768 < 7 and position % 32768:
            position += -position % 32768
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def wandb_file_records(file: Path) -> list[Any]:
    """The records of a run's file, once its end is there: wandb writes it after `finish` has returned."""
    protocol = importlib.import_module("wandb.proto.wandb_internal_pb2")
    end = time.monotonic() + 60
    while True:
        records = []
        for data in leveldb_records(file.read_bytes(), start=7):
            records.append(protocol.Record())
            records[-1].ParseFromString(data)
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        assert time.monotonic() < end, f"{file} has no end: {len(records)} records"
        time.sleep(0.05)


def wandb_records(folder: Path) -> list[dict[str, Any]]:
    """The history of an offline run, in the order of its files."""
    pytest.importorskip("wandb", reason="wandb is not installed ([logging])")
    rows: list[dict[str, Any]] = []
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for record in wandb_file_records(file):
            if record.WhichOneof("record_type") == "run":
                rows.append({"id": record.run.run_id, "project": record.run.project})
            if record.WhichOneof("record_type") == "history":
                values = [(item.key or "/".join(item.nested_key), item.value_json) for item in record.history.item]
                rows.append(dict(pair for key, text in values for pair in flattened(key, json.loads(text))))
    return rows


def flattened(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A value under its key, or each in a dictionary; whether wandb takes dictionaries apart depends on its version."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from flattened(f"{key}/{name}", part)
    else:
        yield key, value


def test_wandb_offline_goes_on_with_the_same_run(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed ([logging])")
    loggers = [{"name": "wandb", "options": {"project": "panes", "mode": "offline", "tags": ["test"]}}]
    run(tmp_path, train__iterations=2, train__loggers=loggers)
    result = run(tmp_path, resume=True, train__iterations=4, train__loggers=loggers)
    rows = wandb_records(tmp_path)
    runs = [row for row in rows if "project" in row]
    assert len({row["id"] for row in runs}) == 1 and {row["project"] for row in runs} == {"panes"}
    found = [(row["_step"], row["train/loss"]) for row in rows if "train/loss" in row]
    assert found == [(step, pytest.approx(loss)) for step, loss in losses(result)]
    last = [row for row in rows if "evaluation/miou" in row][-1]
    assert last["evaluation/miou"] == pytest.approx(result.evaluation.miou)
    assert last["prediction/val0/_type"] == "image-file"
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/images/prediction/*.png"))


@pytest.mark.filterwarnings("ignore:The filesystem tracking backend:FutureWarning")  # advice of MLflow
@pytest.mark.parametrize("store", ["file", "sqlite"])
def test_mlflow_goes_on_with_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed ([logging])")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    uri = (tmp_path / "runs").as_uri() if store == "file" else f"sqlite:///{tmp_path}/runs.db"
    loggers = ["jsonl", {"name": "mlflow", "options": {"tracking_uri": uri, "experiment": "panes"}}]
    run(tmp_path / "out", train__iterations=2, train__loggers=loggers)
    result = run(tmp_path / "out", resume=True, train__iterations=4, train__loggers=loggers)
    client = mlflow.MlflowClient(tracking_uri=uri)
    (found,) = client.search_runs([client.get_experiment_by_name("panes").experiment_id])
    assert found.info.status == "FINISHED" and found.info.run_name == "out"
    assert found.data.params["optimizer.lr"] == "0.05"
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [
        (step, pytest.approx(loss)) for step, loss in losses(result)
    ]
    assert found.data.metrics["evaluation/iou/red"] == pytest.approx(result.history[-1]["iou"]["red"])
    assert {file.path for file in client.list_artifacts(found.info.run_id)} >= {"recipe.json", "images"}


@pytest.mark.parametrize(
    ("name", "module", "library"),
    [
        ("tensorboard", "torch.utils.tensorboard.writer", "TensorBoard"),
        ("wandb", "wandb", "wandb"),
        ("mlflow", "mlflow", "MLflow"),
    ],
)
def test_a_missing_library_is_named_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(tiny.TinyHead, "forward", lambda *args: pytest.fail("training has started"))
    with pytest.raises(TrainingError, match=rf"the logger '{name}' needs {library} .*pip install 'vitrail\[logging\]'"):
        run(tmp_path / "run", train__loggers=["text", name])
    assert not list(tmp_path.iterdir())


class Recorder(Logger):
    """A logger of somebody's own package."""

    wants_pictures = True
    calls: list[Any] = []  # noqa: RUF012 - what all its objects were told

    def __init__(self, *, greeting: str = "hello") -> None:
        self.number = 0
        self.calls.append(greeting)

    def start(self, run: RunInfo, state: Mapping[str, Any]) -> None:
        self.number = state.get("number", 0)
        self.calls.append((run.record["event"], self.number, len(run.history), run.plan.iterations))

    def train(self, record: dict[str, Any]) -> None:
        self.number += 1
        self.calls.append(("train", record["iteration"]))

    def evaluation(self, record: dict[str, Any]) -> None:
        self.calls.append(("evaluation", record["iteration"]))

    def pictures(self, iteration: int, pictures: Sequence[Picture]) -> None:
        self.calls.append(("pictures", iteration, [picture.name for picture in pictures], pictures[0].image.size))

    def state(self) -> dict[str, Any]:
        return {"number": self.number}

    def finish(self, error: BaseException | None) -> None:
        self.calls.append(("finish", type(error).__name__))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(LOGGERS, "_entries", dict(LOGGERS._entries))
    monkeypatch.setattr(Recorder, "calls", [])
    register_logger("recorder")(Recorder)
    return Recorder.calls


def test_a_logger_of_ones_own_is_called_in_order_and_resumed(tmp_path: Path, recorder: list[Any]) -> None:
    chosen = [{"name": "recorder", "options": {"greeting": "bonjour"}}]
    run(tmp_path, train__iterations=2, train__loggers=chosen)
    pictures = ("pictures", 2, ["val0", "val1", "val2", "val3"], (160, 72))
    first = ["bonjour", ("start", 0, 0, 2), ("train", 1), ("train", 2), ("evaluation", 2), pictures]
    assert recorder == [*first, ("finish", "NoneType")]
    recorder.clear()
    run(tmp_path, resume=True, train__iterations=3, train__loggers=chosen)
    assert recorder[1:3] == [("resume", 2, 4, 3), ("train", 3)]
    recorder.clear()
    run(tmp_path, resume=True, train__iterations=3, train__loggers=chosen)
    assert recorder == ["bonjour", ("complete", 3, 7, 3), ("finish", "NoneType")]


def test_a_logger_learns_of_the_error_that_ended_the_run(
    tmp_path: Path, recorder: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny.TinyHead, "forward", lambda self, features: self.classifier(features[-1]) * torch.nan)
    with pytest.raises(TrainingError, match="no longer finite"):
        run(tmp_path, train__loggers=["recorder"])
    assert recorder[-1] == ("finish", "TrainingError")


def test_mistakes_are_named(tmp_path: Path) -> None:
    assert list_loggers() == ["jsonl", "mlflow", "tensorboard", "text", "wandb"]
    with pytest.raises(
        RecipeError, match=r"train.loggers.0.name: unknown logger 'tensorbord'. Did you mean 'tensorboard'"
    ):
        run(tmp_path, train__loggers=["tensorbord"])
    with pytest.raises(
        RecipeError,
        match=r"train.loggers.0.options.projet: logger 'wandb' takes no argument 'projet'. Did you mean 'project'",
    ):
        run(tmp_path, train__loggers=[{"name": "wandb", "options": {"projet": "x"}}])
    with pytest.raises(RecipeError, match=r"train.loggers lists a logger twice: text, text"):
        run(tmp_path, train__loggers=["text", "text"])
