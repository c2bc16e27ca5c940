"""Faults during trainings of several processes: what docs/scale.md promises, and what happens."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny

from vitrail.training import train

PROGRAM = Path(tiny.__file__)
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=1", "--rdzv-backend=c10d"]
# Without the second one, a machine that comes later waits for the address of the first process for ever (PyTorch 2.14).
VARIABLES = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
MINUTE = 60
pytestmark = pytest.mark.nightly


class Machines:
    """Processes of torchrun that take part in one run, as on machines of their own.

    Parameters
    ----------
    folder : Path
        Of the run; each machine writes what it says to a file beside it.
    job : dict
        See `tiny_training`.
    nodes : str
        `--nnodes` of torchrun.
    """

    def __init__(self, folder: Path, job: dict[str, Any], nodes: str) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("localhost", 0))
            endpoint = f"--rdzv-endpoint=localhost:{free.getsockname()[1]}"
        options = [f"--nnodes={nodes}", endpoint, "--rdzv-id=run", "--max-restarts=9", "--monitor-interval=0.2"]
        conf = "--rdzv-conf=last_call_timeout=3"
        self._command = [*LAUNCHER, *options, conf, str(PROGRAM), json.dumps([{"folder": str(folder), **job}])]
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """Start one more machine."""
        said = self.folder.with_name(f"machine{len(self.running)}.log")
        with said.open("wb") as file:
            process = subprocess.Popen(self._command, env={**os.environ, **VARIABLES}, stderr=file, stdout=file)
        self.running.append(process)
        return process

    def records(self, event: str) -> list[dict[str, Any]]:
        """Return the records of the run's log so far."""
        log = self.folder / "log.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        return [record for record in map(json.loads, lines) if record["event"] == event]

    def iteration(self) -> int:
        """Return the last iteration in the log."""
        return max((record["iteration"] for record in self.records("train")), default=0)

    def said(self) -> str:
        """Return the ends of what the machines said."""
        return "\n".join(path.read_text()[-3000:] for path in sorted(self.folder.parent.glob("machine*.log")))


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def lose(machine: subprocess.Popen[bytes]) -> None:
    """Kill torchrun and its processes at once, as where the power fails."""
    for process in (machine.pid, *children(machine.pid)):
        os.kill(process, signal.SIGKILL)
    machine.wait()


def wait_until(true: Callable[[], bool], machines: Machines, seconds: float = 3 * MINUTE) -> float:
    """Wait, and return how many seconds it took."""
    begin = time.monotonic()
    while not true():
        assert time.monotonic() - begin < seconds, machines.said()
        time.sleep(0.2)
    return time.monotonic() - begin


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Machines]]:
    """Return a function that starts machines; those that are left are killed in the end."""
    every: list[Machines] = []

    def begin(count: int, nodes: str, **job: Any) -> Machines:
        machines = Machines(tmp_path / "run", {"base": "recipe", "resume": "auto", **job}, nodes)
        every.append(machines)
        for _ in range(count):
            machines.start()
        return machines

    yield begin
    for process in (process for machines in every for process in machines.running):
        if process.poll() is None:
            lose(process)


def test_a_machine_is_lost_and_another_one_comes(
    start: Callable[..., Machines], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4, 3 and again 4 processes see the images that one process sees, and have its losses."""
    changes = {"train__iterations": 60, "train__batch_size": 12, "train__save_every": 2, "train__eval_every": 60}
    machines = start(4, "3:4", changes=changes, pause=0.5)
    wait_until(lambda: machines.iteration() >= 6, machines)
    lose(machines.running[3])
    assert wait_until(lambda: len(machines.records("resume")) == 1, machines) < MINUTE
    wait_until(lambda: machines.iteration() >= 16, machines)
    machines.start()
    assert wait_until(lambda: len(machines.records("resume")) == 2, machines) < MINUTE
    wait_until(lambda: all(process.poll() is not None for process in machines.running), machines)
    assert [process.returncode for process in machines.running] == [0, 0, 0, -signal.SIGKILL, 0], machines.said()
    counts = [record["processes"] for record in (*machines.records("start"), *machines.records("resume"))]
    assert counts == [4, 3, 4]
    tiny.register(monkeypatch.setitem)
    alone = train(tiny.recipe(**changes), output_dir=tmp_path / "alone", device="cpu")
    expected = {record["iteration"]: record["loss"] for record in alone.history if record["event"] == "train"}
    losses = [(record["iteration"], record["loss"]) for record in machines.records("train")]
    assert losses[-1][0] == 60 and len({iteration for iteration, _ in losses}) == 60
    assert [loss for _, loss in losses] == pytest.approx([expected[iteration] for iteration, _ in losses], rel=1e-4)


def test_a_process_is_killed(start: Callable[..., Machines]) -> None:
    changes = {"train__iterations": 20, "train__save_every": 2, "train__eval_every": 20}
    machines = start(2, "2", changes=changes, pause=0.3)
    wait_until(lambda: machines.iteration() >= 5, machines)
    os.kill(children(machines.running[1].pid)[0], signal.SIGKILL)
    assert wait_until(lambda: len(machines.records("resume")) == 1, machines) < MINUTE
    wait_until(lambda: all(process.poll() == 0 for process in machines.running), machines)


def test_a_process_that_loads_images_is_killed(start: Callable[..., Machines]) -> None:
    changes = {"train__iterations": 20, "train__save_every": 2, "train__eval_every": 20, "data__workers": 1}
    machines = start(2, "2", changes=changes, pause=0.3)
    wait_until(lambda: machines.iteration() >= 5, machines)
    (worker,) = children(machines.running[1].pid)
    for loader in children(worker):
        os.kill(loader, signal.SIGKILL)
    assert wait_until(lambda: len(machines.records("resume")) == 1, machines) < MINUTE
    wait_until(lambda: all(process.poll() == 0 for process in machines.running), machines)


def test_the_machine_of_the_rendezvous_is_lost(start: Callable[..., Machines]) -> None:
    """The others end; started again, on whatever machines, the run goes on."""
    job = {"changes": {"train__iterations": 20, "train__save_every": 2, "train__eval_every": 20}, "pause": 0.3}
    machines = start(1, "1:2", **job)
    time.sleep(1)  # the first one holds the store
    other = machines.start()
    wait_until(lambda: machines.iteration() >= 5, machines)
    lose(machines.running[0])
    assert wait_until(lambda: other.poll() is not None, machines) < MINUTE
    assert other.returncode != 0
    again = start(2, "2", **job)
    wait_until(lambda: all(process.poll() == 0 for process in again.running), again)
    assert again.iteration() == 20 and len(again.records("resume")) == 1


def test_the_disk_is_full_while_shards_are_written(start: Callable[..., Machines]) -> None:
    """That of the second process, in its second save: both end with one message, and go on from the first save."""
    changes = {"train__save_every": 4, "train__iterations": 10, "train__strategy": "fsdp2"}
    machines = start(2, "2", base="blocks", changes=changes, full_after_saves=1, rank=1)
    wait_until(lambda: all(process.poll() == 0 for process in machines.running), machines)
    said = machines.said()
    assert re.search(
        "cannot save iteration 8 in .*: .*No space left on device; the last good checkpoint, of iteration 4", said
    ), said
    (resumed,) = machines.records("resume")
    assert resumed["iteration"] == 4
    assert torch.load(machines.folder / "last.state.pt", weights_only=True)["iteration"] == 10
    assert len(list((machines.folder / "shards").iterdir())) == 2


def test_the_clock_of_one_process_is_wrong(start: Callable[..., Machines]) -> None:
    changes = {"train__iterations": 6, "train__max_minutes": 30, "train__save_every": 2, "data__workers": 1}
    machines = start(2, "2", changes=changes, skew=-7200, rank=1)
    wait_until(lambda: all(process.poll() == 0 for process in machines.running), machines)
    assert machines.iteration() == 6 and not machines.records("stop")
