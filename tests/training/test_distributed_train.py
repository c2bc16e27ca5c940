"""Training in two processes: the same run as in one, with shards too; no process waits for one that is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny
from helpers.processes import in_two_processes

import vitrail
from vitrail.errors import CheckpointError, TrainingError
from vitrail.runtime import distributed
from vitrail.runtime.distributed import fsdp2
from vitrail.runtime.distributed.fsdp2 import shards_on_cpu
from vitrail.training import train

PROGRAM = Path(tiny.__file__)
with_shards = pytest.mark.skipif(not shards_on_cpu(), reason="this PyTorch cannot shard models on the CPU")
JOINT = {"train__iterations": 6, "train__batch_size": 8, "train__clip_grad_norm": 0.5}
BLOCKS = {"train__save_every": 4, "train__activation_checkpointing": True}
SHARDED = {**BLOCKS, "train__strategy": "fsdp2"}
WHOLE_GRADIENTS = {"name": "fsdp2", "options": {"reduce_each_part": False, "reshard_after_forward": False}}
HALF = {"train__strategy": "fsdp2", "train__amp": "bfloat16", "train__ema": None}
STOPPED = {"train__iterations": 12, "train__save_every": 12}
FULL = {"train__iterations": 6, "train__batch_size": 8, "train__save_every": 4, "data__workers": 1}


def torchrun(*jobs: dict[str, Any], processes: int = 2) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launcher, str(PROGRAM), json.dumps(jobs)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)


def job(folder: Path, base: str, changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"folder": str(folder), "base": base, "changes": changes, **more}


def sharded_jobs(folder: Path) -> list[dict[str, Any]]:
    return [
        job(folder / "sharded", "blocks", SHARDED),
        job(folder / "resumed", "blocks", SHARDED, copy_of=str(folder / "sharded"), resume=True),
        job(folder / "resumed_whole", "blocks", SHARDED, copy_of=str(folder / "ddp"), resume=True),
        job(folder / "whole_gradients", "blocks", {"train__strategy": WHOLE_GRADIENTS}),
        job(folder / "half", "blocks", HALF),
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two processes have trained all of these; in "broken" the second one was killed in iteration 6."""
    folder = tmp_path_factory.mktemp("two")
    result = torchrun(
        job(folder / "joint", "recipe", {**JOINT, "train__accumulate": 2}),
        job(folder / "ddp", "blocks", BLOCKS),
        *(sharded_jobs(folder) if shards_on_cpu() else ()),
        job(folder / "stopped", "recipe", STOPPED, die_at_step=3, rank=1, signal="SIGTERM", note_exit=True),
        job(folder / "whole", "fastscnn", FULL),
        job(folder / "broken", "fastscnn", FULL, die_at_step=6, rank=1),
    )
    assert result.returncode != 0
    assert (folder / "broken/last.state.pt").exists(), result.stderr
    return folder


def records(folder: Path, event: str) -> list[dict[str, Any]]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]


def state(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "last.state.pt", weights_only=True)
    return found


def test_two_processes_train_as_one_does_with_the_joint_batch(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.register(monkeypatch.setitem)
    one = train(tiny.recipe(**JOINT), output_dir=tmp_path, device="cpu")
    assert records(trained / "joint", "start")[0]["processes"] == 2
    ours, theirs = ([record["loss"] for record in records(f, "train")] for f in (trained / "joint", tmp_path))
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert len(ours) == 6
    (evaluation,) = records(trained / "joint", "evaluation")
    assert evaluation["images"] == 5
    assert evaluation["miou"] == pytest.approx(one.evaluation.miou, abs=1e-3)


def test_a_run_whose_second_process_was_killed_goes_on_bit_for_bit(trained: Path) -> None:
    """With batch norms, whose statistics differ between processes, with dropout and data workers."""
    assert state(trained / "broken")["iteration"] == 4
    in_two_processes(tiny.main, [job(trained / "broken", "fastscnn", FULL, resume=True)])
    ours, theirs = state(trained / "broken"), state(trained / "whole")
    assert ours["iteration"] == theirs["iteration"] == 6
    for part in ("model", "average"):
        assert all(torch.equal(value, ours[part][name]) for name, value in theirs[part].items())
    figures = [record["miou"] for record in records(trained / "whole", "evaluation")]
    assert figures == [record["miou"] for record in records(trained / "broken", "evaluation")]


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in records(folder, "train")]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return vitrail.load(path).state_dict()


def assert_close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        assert torch.allclose(ours[name], value, rtol=1e-3, atol=1e-4), name


def test_a_signal_to_one_process_saves_and_ends_the_run(trained: Path) -> None:
    """All agree on the step after the one in which it came; 143 is what a shell says of SIGTERM."""
    assert [(trained / "stopped" / f"exit{rank}").read_text() for rank in (0, 1)] == ["143", "143"]
    assert state(trained / "stopped")["iteration"] == 4
    (stop,) = records(trained / "stopped", "stop")
    assert stop["reason"] == "stopped by SIGTERM; --resume goes on"


@with_shards
def test_a_sharded_run_is_the_run_of_ddp(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With accumulation, clipping, a moving average, activation checkpointing, batch norms; all in one model file."""
    tiny.register(monkeypatch.setitem)
    theirs = losses(trained / "ddp")
    assert len(theirs) == 6
    for name in ("sharded", "whole_gradients"):
        assert losses(trained / name) == pytest.approx(theirs, rel=1e-4), name
        assert_close(weights(trained / name / "last.safetensors"), weights(trained / "ddp/last.safetensors"))
    assert losses(trained / "half") == pytest.approx(theirs, rel=0.02)


@with_shards
def test_a_sharded_run_is_resumed_bit_for_bit(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)
    ours, theirs = (weights(trained / name / "last.safetensors") for name in ("resumed", "sharded"))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert losses(trained / "resumed") == losses(trained / "sharded")


@with_shards
def test_a_sharded_run_goes_on_without_shards_and_the_other_way_round(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.register(monkeypatch.setitem)
    for name in ("sharded", "ddp"):
        tiny.copy_before_last(trained / name, tmp_path / name)
        train(tiny.blocks(**BLOCKS), output_dir=tmp_path / name, resume=True)
    for ours, theirs in ((tmp_path / "sharded", tmp_path / "ddp"), (trained / "resumed_whole", trained / "sharded")):
        assert losses(ours) == pytest.approx(losses(theirs), rel=1e-4)
        assert_close(weights(ours / "last.safetensors"), weights(theirs / "last.safetensors"))
    state = torch.load(tmp_path / "sharded/last.state.pt", weights_only=True)
    assert "shards" not in state and state["iteration"] == 6


@with_shards
def test_only_the_last_two_states_are_kept(trained: Path) -> None:
    folder = trained / "sharded"
    named = [torch.load(folder / name, weights_only=True)["shards"] for name in ("previous.state.pt", "last.state.pt")]
    assert [name.split("-")[0] for name in named] == ["4", "6"]
    assert {path.name for path in (folder / "shards").iterdir()} == set(named)
    parts = sorted(path.name for path in (folder / "shards" / named[1]).iterdir())
    assert parts == [".metadata", "__0_0.distcp", "__1_0.distcp"]


@with_shards
def test_damaged_shards_are_named_with_the_way_out(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.register(monkeypatch.setitem)
    tiny.copy_before_last(trained / "sharded", tmp_path / "run")
    (shards,) = (tmp_path / "run/shards").glob("4-*")
    recipe = tiny.blocks(**BLOCKS)
    (shards / ".metadata").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    with pytest.raises(CheckpointError, match=r"posix.system|os.system.*no description of a tensor") as info:
        train(recipe, output_dir=tmp_path / "run", resume=True)
    assert "remove" in str(info.value)
    for part in shards.glob("__*"):
        part.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        train(recipe, output_dir=tmp_path / "run", resume=True)


@with_shards
@pytest.mark.nightly
def test_groups_of_processes_hold_the_model_in_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four processes in two groups train as with DDP; their checkpoint goes on in another shape, and the other way."""
    hybrid = {"train__strategy": {"name": "fsdp2", "options": {"replicate": 2}}}
    result = torchrun(
        job(tmp_path / "ddp", "blocks", BLOCKS),
        job(tmp_path / "sharded", "blocks", SHARDED),
        job(tmp_path / "hybrid", "blocks", {**BLOCKS, **hybrid}),
        job(tmp_path / "resumed", "blocks", {**BLOCKS, **hybrid}, copy_of=str(tmp_path / "hybrid"), resume=True),
        job(tmp_path / "to_hybrid", "blocks", {**BLOCKS, **hybrid}, copy_of=str(tmp_path / "sharded"), resume=True),
        job(tmp_path / "from_hybrid", "blocks", SHARDED, copy_of=str(tmp_path / "hybrid"), resume=True),
        processes=4,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    tiny.register(monkeypatch.setitem)
    theirs = losses(tmp_path / "ddp")
    assert len(theirs) == 6
    for name in ("sharded", "hybrid", "to_hybrid", "from_hybrid"):
        assert losses(tmp_path / name) == pytest.approx(theirs, rel=1e-4), name
        assert_close(weights(tmp_path / name / "last.safetensors"), weights(tmp_path / "ddp/last.safetensors"))
    assert losses(tmp_path / "resumed") == losses(tmp_path / "hybrid")
    for name in ("ddp", "hybrid"):  # whose batch norms see more images in fewer processes
        tiny.copy_before_last(tmp_path / name, tmp_path / f"{name}_alone")
        train(tiny.blocks(**BLOCKS), output_dir=tmp_path / f"{name}_alone", resume=True)
    two = [
        job(tmp_path / f"{name}_two", "blocks", changes, copy_of=str(tmp_path / name), resume=True)
        for name, changes in (("ddp", BLOCKS), ("hybrid", SHARDED))
    ]
    result = torchrun(*two)
    assert result.returncode == 0, result.stderr[-3000:]
    for shape in ("alone", "two"):
        ours, others = (losses(tmp_path / f"{name}_{shape}") for name in ("hybrid", "ddp"))
        assert ours == pytest.approx(others, rel=1e-4) and len(ours) == 6, shape


def test_shards_need_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)
    with pytest.raises(TrainingError, match=r"train.strategy=fsdp2 needs several processes: .*torchrun"):
        train(tiny.blocks(train__strategy="fsdp2"), output_dir=tmp_path)


def test_options_that_do_not_fit_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsdp2, "world_size", lambda: 4)
    cpu = torch.device("cpu")
    with pytest.raises(TrainingError, match=r"4 processes cannot form 3 groups \(replicate\) of two or more"):
        distributed.create_strategy("fsdp2", cpu, {"replicate": 3})
    monkeypatch.setattr(fsdp2, "shards_on_cpu", lambda: False)
    with pytest.raises(TrainingError, match=r"needs CUDA with PyTorch .*pip install --upgrade torch.*ddp"):
        distributed.create_strategy("fsdp2", cpu, {})
