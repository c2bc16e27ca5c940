"""Runs that are killed and go on as if they had not been."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import tiny_training as tiny
from helpers.image_makers import make_folder
from helpers.processes import in_own_process
from helpers.small import small_settings
from PIL import Image

from vitrail import checkpoints
from vitrail.datasets import create_dataset
from vitrail.errors import CheckpointError, ModelError, TrainingError, VitrailError
from vitrail.training import TrainingResult, TrainingRun, train
from vitrail.training.folder import PREVIOUS, STATE, locked

# 26 images in batches of 4 make epochs of 6 iterations: a kill at 10 and a checkpoint at 8 both lie inside the second.
CHANGES: dict[str, Any] = {
    "train__iterations": 12,
    "train__save_every": 8,
    "train__eval_every": 8,
    "optimizer__rules": [{"match": "backbone.", "warmup": {"start": 6, "iterations": 4}}],
}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        tiny.register(patch.setitem)
        train(tiny.fastscnn(**CHANGES), output_dir=folder, device="cpu")
    return folder


def killed(folder: Path, step: int) -> None:
    job = {"folder": str(folder), "base": "fastscnn", "changes": CHANGES, "die_at_step": step}
    result = in_own_process(tiny.main, [job])
    assert result.returncode == -signal.SIGKILL, result.stderr


def assert_same(ours: Any, theirs: Any, where: str = "") -> None:
    """Compare nested plain data and tensors, bit for bit."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours:
            assert_same(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), where
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(a, b, f"{where}.{index}")
    elif isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), where
    else:
        assert ours == theirs, where


def state_of(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / STATE, weights_only=True)
    return state


def assert_same_run(ours: Path, theirs: Path) -> None:
    a, b = state_of(ours), state_of(theirs)
    history = a.pop("history"), b.pop("history")
    assert_same(a, b)
    lines = [json.loads(line) for line in (ours / "log.jsonl").read_text().splitlines()]
    assert lines == history[0]
    for event, figure in (("train", "loss"), ("evaluation", "miou")):
        first, second = ([(r["iteration"], r[figure]) for r in h if r["event"] == event] for h in history)
        assert first == second
    for name in ("last.safetensors", "best.safetensors"):
        mine, other = (checkpoints.load_model(folder / name).state_dict() for folder in (ours, theirs))
        assert_same(mine, other, name)


def test_a_run_killed_within_an_epoch_goes_on_bit_for_bit(tmp_path: Path, uninterrupted: Path) -> None:
    killed(tmp_path, step=10)
    assert state_of(tmp_path)["iteration"] == 8
    assert '"iteration": 9' in (tmp_path / "log.jsonl").read_text()
    result = train(tiny.fastscnn(**CHANGES), output_dir=tmp_path, resume=True, device="cpu")
    assert [record["iteration"] for record in result.history if record["event"] == "resume"] == [8]
    assert_same_run(tmp_path, uninterrupted)


def run(folder: Path, *, resume: bool | str = False, **changes: Any) -> TrainingResult:
    return train(tiny.recipe(**changes), output_dir=folder, resume=resume, device="cpu")


def test_a_run_that_stops_between_the_model_and_its_state_goes_on_from_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_at_the_second_state(source: Path, target: Path) -> None:
        if target.name == STATE and target.exists():
            raise KeyboardInterrupt
        replace(source, target)

    replace = os.replace
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", stop_at_the_second_state)
        run(tmp_path / "stopped")
    stopped = state_of(tmp_path / "stopped")
    weights = checkpoints.load_model(tmp_path / "stopped/last.safetensors").state_dict()
    assert stopped["iteration"] == 4
    assert not torch.equal(weights["head.classifier.weight"], stopped["model"]["head.classifier.weight"])
    (tmp_path / "stopped/.last.state.pt.123.part").write_text("of a process that was killed while it wrote")
    run(tmp_path / "stopped", resume=True)
    run(tmp_path / "whole")
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")
    assert not list((tmp_path / "stopped").glob(".*"))


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    first = run(tmp_path, train__iterations=2)
    before = (tmp_path / STATE).read_bytes()
    again = run(tmp_path, resume=True, train__iterations=2)
    assert torch.equal(again.evaluation.confusion, first.evaluation.confusion)
    assert (tmp_path / STATE).read_bytes() == before
    assert again.history == first.history


def test_a_run_can_be_made_longer(tmp_path: Path) -> None:
    run(tmp_path, train__iterations=2)
    longer = run(tmp_path, resume=True, train__iterations=4, data__workers=1, train__log_every=2)
    assert [record["iteration"] for record in longer.history if record["event"] == "train"] == [1, 2, 4]


def test_another_recipe_is_refused_naming_the_keys(tmp_path: Path) -> None:
    run(tmp_path, train__iterations=1)
    with pytest.raises(TrainingError, match=r"optimizer\.lr was 0\.05, is 0\.1; train\.batch_size was 4, is 8"):
        run(tmp_path, resume=True, optimizer__lr=0.1, train__batch_size=8)


def test_other_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, train__iterations=1)
    monkeypatch.setitem(tiny.IMAGES, "train", 25)
    with pytest.raises(TrainingError, match="the training images are not those that the run began with"):
        run(tmp_path, resume=True)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    run(tmp_path, train__iterations=1)
    before = (tmp_path / STATE).read_bytes()
    with pytest.raises(TrainingError, match=r"already holds a run .*resume"):
        run(tmp_path, train__iterations=1)
    assert (tmp_path / STATE).read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a checkpoint", None])
def test_a_damaged_state_is_named(tmp_path: Path, damage: bytes | None) -> None:
    run(tmp_path, train__iterations=1)
    state = tmp_path / STATE
    state.write_bytes(state.read_bytes()[:-2000] if damage is None else damage)
    with pytest.raises(CheckpointError, match=r"last\.state\.pt (is|holds|was)"):
        run(tmp_path, resume=True)


def test_a_state_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "owned",))

    run(tmp_path, train__iterations=1)
    torch.save({"format": 1, "iteration": Attack()}, tmp_path / STATE)
    with pytest.raises(CheckpointError):
        run(tmp_path, resume=True)
    assert not (tmp_path / "owned").exists()


def advice_of(error: BaseException) -> list[str]:
    """The command that a message says to give."""
    found = re.search(r"(mv \S+ \S+), and --resume", str(error))
    assert found, error
    return found[1].split()


def test_a_flipped_bit_in_a_state_is_noticed_and_the_advice_works(tmp_path: Path) -> None:
    run(tmp_path / "whole", train__iterations=4, train__save_every=2)
    run(tmp_path / "run", train__iterations=4, train__save_every=2)
    state = tmp_path / "run" / STATE
    data = bytearray(state.read_bytes())
    weights = state_of(tmp_path / "run")["model"]["head.classifier.weight"].numpy().tobytes()
    data[data.index(weights) + 5] ^= 0x40
    state.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged") as refused:
        run(tmp_path / "run", resume=True, train__iterations=4, train__save_every=2)
    subprocess.run(advice_of(refused.value), check=True)
    assert state_of(tmp_path / "run")["iteration"] == 2
    run(tmp_path / "run", resume=True, train__iterations=4, train__save_every=2)
    assert_same(state_of(tmp_path / "run")["model"], state_of(tmp_path / "whole")["model"])


@pytest.mark.parametrize(
    "change",
    [
        {"format": "x"}, {"recipe": None}, {"recipe": {}}, {"history": None}, {"history": [3]}, {"iteration": "5"},
        {"iteration": -3}, {"iteration": 10**12}, {"random": None}, {"random": [3]}, {"random": [{}]}, {"best": None},
        {"optimizer": {}}, {"schedule": {}}, {"model": {}}, {"model": []}, {"loggers": []}, {"scaler": None},
        {"iteration": 2}, {"history": []}, {"random": []}, {"classes": [1]}, {"classes": None}, {"images": 3},
        {"contents": 3}, {"contents": {"a": 1}},
        {"history": [{"event": "start", "iteration": 0, "iterations": 1, "recipe": {"model": {}, "train": 0.5}}]},
    ],
)  # fmt: skip
def test_a_state_of_anything_else_is_an_error_that_says_how_to_go_on(
    finished: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    torch.save({**state_of(finished), **change}, tmp_path / "run" / STATE)
    with pytest.raises(VitrailError, match=r"start the run again|previous\.state|recipe") as refused:
        run(tmp_path / "run", resume=True, train__iterations=1)
    assert len(str(refused.value)) < 3000


def test_records_and_loggers_of_a_subclass_do_not_hinder(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    state = state_of(finished)
    own = {"event": "pruned", "iteration": 1, "layers": ["a"]}
    state |= {"history": [*state["history"], own], "loggers": {"mine": {"seen": [1, 2]}}}
    torch.save(state, tmp_path / "run" / STATE)
    assert own in run(tmp_path / "run", resume=True, train__iterations=2).history


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        tiny.register(patch.setitem)
        run(folder, train__iterations=1)
    return folder


def test_classes_in_another_order_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, train__iterations=1)
    state = state_of(tmp_path)
    torch.save({**state, "classes": state["classes"][::-1]}, tmp_path / STATE)
    with pytest.raises(TrainingError, match="began with the classes blue, red, ground, and the data now have ground"):
        run(tmp_path, resume=True)


@pytest.mark.parametrize("changed", ["images", "masks"])
def test_images_and_masks_that_have_changed_are_refused_and_the_advice_works(tmp_path: Path, changed: str) -> None:
    data, folder = tmp_path / "data", tmp_path / "run"
    make_folder(data)
    settings = {"train__iterations": 1, "train__batch_size": 1, "data__dataset": "folder", "data__root": str(data)}
    run(folder, **settings)
    first = create_dataset("folder", data, "train").ids[0]
    (path,) = (data / changed).glob(f"{first}.*")
    with Image.open(path) as picture:
        other = np.asarray(picture).copy()
    other[0, 0] = 1 - np.clip(other[0, 0], 0, 1)
    Image.fromarray(other).save(path)
    longer = {**settings, "train__iterations": 2}
    with pytest.raises(TrainingError, match=f"{first} and its mask are not what they were .*--from"):
        run(folder, resume=True, **longer)
    start = tiny.recipe(**longer)
    train(start, output_dir=tmp_path / "again", start_from=folder / "last.safetensors", device="cpu")


def test_a_vocabulary_may_have_moved(tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text("#version\na b</w>\n")
    texts = {"contrastive_weight": 0.5, "text_layers": 1, "num_contexts": 2, "vocabulary_size": 2 * 256 + 3}
    model = small_settings("oneformer", vocabulary=str(tmp_path / "merges.txt"), **texts)
    settings = {"train__iterations": 1, "model": model}
    run(tmp_path / "run", **settings)
    (tmp_path / "merges.txt").rename(tmp_path / "moved.txt")
    with pytest.raises(ModelError, match=r"cannot read the vocabulary .*merges\.txt"):
        run(tmp_path / "run", resume=True, **settings)
    model["options"]["vocabulary"] = str(tmp_path / "moved.txt")
    run(tmp_path / "run", resume=True, **{**settings, "train__iterations": 2})
    assert state_of(tmp_path / "run")["iteration"] == 2


def test_a_folder_belongs_to_one_run_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(TrainingError, match="another process is training in"):
        run(tmp_path, train__iterations=1)
    (tmp_path / "run.lock").touch()  # a lock that was left behind is nobody's
    run(tmp_path, train__iterations=1)
    assert not (tmp_path / "run.lock").exists()


@pytest.mark.parametrize("taken", [False, True], ids=["moved away", "taken by another run"])
def test_a_run_whose_folder_is_gone_saves_itself_elsewhere_and_the_advice_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    run(tmp_path / "whole")
    step = TrainingRun.train_step

    def moving(self: TrainingRun, *batch: Any) -> None:
        if self.state.iteration == 5:
            (tmp_path / "run").rename(tmp_path / "moved")
            if taken:
                (tmp_path / "run").mkdir()
                (tmp_path / "run" / "run.lock").write_text("another")
                (tmp_path / "run" / STATE).write_text("of another run")
        step(self, *batch)

    with monkeypatch.context() as patch, pytest.raises(TrainingError, match=r"deleted, moved or taken") as ended:
        patch.setattr(TrainingRun, "train_step", moving)
        run(tmp_path / "run")
    found = re.search(r"saved in (\S+),", str(ended.value))
    assert found and Path(found[1]) == tmp_path / ("run.saved" if taken else "run")
    assert [state_of(folder)["iteration"] for folder in (tmp_path / "moved", Path(found[1]))] == [4, 8]
    if taken:
        assert (tmp_path / "run" / STATE).read_text() == "of another run"
        assert (tmp_path / "run" / "run.lock").exists()
    run(Path(found[1]), resume=True)
    assert_same_run(Path(found[1]), tmp_path / "whole")


def test_one_command_starts_a_run_and_goes_on_with_it(tmp_path: Path) -> None:
    whole = train(tiny.recipe(), output_dir=tmp_path / "whole", device="cpu")
    train(tiny.recipe(train__iterations=2), output_dir=tmp_path / "run", resume="auto", device="cpu")
    result = train(tiny.recipe(), output_dir=tmp_path / "run", resume="auto", device="cpu")
    assert [record["event"] for record in result.history if record["event"] in ("start", "resume")] == [
        "start", "resume",
    ]  # fmt: skip
    assert len(whole.history) > 0


def test_models_of_a_run_that_saved_no_state_do_not_stand_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_at_the_state(source: Path, target: Path) -> None:
        if target.name == STATE:
            raise KeyboardInterrupt
        replace(source, target)

    replace = os.replace
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", stop_at_the_state)
        run(tmp_path, train__iterations=1)
    assert (tmp_path / "last.safetensors").exists() and not (tmp_path / STATE).exists()
    with pytest.raises(TrainingError, match="Start the run without --resume"):
        run(tmp_path, resume=True, train__iterations=1)
    run(tmp_path, train__iterations=1)
    assert state_of(tmp_path)["iteration"] == 1 and not (tmp_path / PREVIOUS).exists()
    (tmp_path / STATE).unlink()  # the models of a run that did save one are kept
    with pytest.raises(TrainingError, match="already holds a run"):
        run(tmp_path, train__iterations=1)
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(TrainingError, match=r"already holds a run \(log\.jsonl, train\.log\)"):  # and its logs
        run(tmp_path, train__iterations=1)


@pytest.mark.parametrize("resume", [True, False, "auto"])
def test_a_run_that_lost_its_last_state_goes_on_from_the_one_before(resume: Any, tmp_path: Path) -> None:
    run(tmp_path, train__iterations=2, train__save_every=1)
    state, previous = tmp_path / STATE, tmp_path / PREVIOUS
    state.unlink()
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, resume=resume, train__iterations=2)
    assert f"mv {previous} {state}, and --resume again" in str(caught.value)
    previous.rename(state)  # as the message says
    run(tmp_path, resume=True, train__iterations=2)
    assert state_of(tmp_path)["iteration"] == 2


@pytest.mark.parametrize(("name", "code", "workers"), [("SIGTERM", 143, 2), ("SIGHUP", 129, 0)])
def test_a_signal_to_every_process_saves_the_run_and_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, name: str, code: int, workers: int
) -> None:
    before = signal.signal(getattr(signal, name), signal.SIG_DFL)  # nohup ignores SIGHUP, and programs inherit that
    request.addfinalizer(lambda: signal.signal(getattr(signal, name), before))
    run(tmp_path / "whole", train__iterations=4)
    step = TrainingRun.train_step

    def signalled(self: TrainingRun, *batch: Any) -> None:
        if self.state.iteration == 1:
            children = [process.pid for process in multiprocessing.active_children()]
            assert len(children) == workers
            # Like a scheduler, from another process: what the main process sends itself ends its loader processes.
            subprocess.run(["kill", f"-{name}", *map(str, children), str(os.getpid())], check=True)
        step(self, *batch)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(TrainingRun, "train_step", signalled)
        run(tmp_path / "run", train__iterations=4, data__workers=workers)
    assert ended.value.code == code
    assert state_of(tmp_path / "run")["iteration"] == 2
    assert state_of(tmp_path / "run")["history"][-1]["reason"] == f"stopped by {name}; --resume goes on"
    assert signal.getsignal(getattr(signal, name)) is signal.SIG_DFL
    run(tmp_path / "run", resume=True, train__iterations=4)
    assert_same(state_of(tmp_path / "run")["model"], state_of(tmp_path / "whole")["model"])
