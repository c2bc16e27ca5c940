"""Processes of their own for tests, without the seconds that importing PyTorch takes.

They are forks of a process that has imported vitrail and done nothing: one that has computed gradients, as this one may
have, cannot be forked. Their loader processes are forks of them, as they are of a program that a user starts.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import multiprocessing

PRELOADED = ["vitrail.cli", "vitrail.training", "vitrail.evaluation"]
SECONDS = 300


def in_own_process(
    work: Callable[..., object], *arguments: object, cwd: Path | None = None, path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Call `work(*arguments)` in a process, with a working folder and with a folder in front of Python's path.

    Returns
    -------
    subprocess.CompletedProcess
        What it printed and how it ended, as of a program.
    """
    multiprocessing.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "stdout"), Path(folder, "stderr")
        process = multiprocessing.get_context("forkserver").Process(
            target=_call_and_print, args=(*map(str, files), cwd and str(cwd), path and str(path), work, arguments)
        )
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"not done after {SECONDS} s: {files[1].read_text()}")
        printed, complaints = (file.read_text(encoding="utf-8") for file in files)
    return subprocess.CompletedProcess([], process.exitcode, printed, complaints)


def _call_and_print(
    stdout: str,
    stderr: str,
    cwd: str | None,
    path: str | None,
    work: Callable[..., object],
    arguments: Sequence[object],
) -> None:
    for descriptor, name in ((1, stdout), (2, stderr)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    _like_a_program()
    if cwd is not None:
        os.chdir(cwd)
    if path is not None:
        sys.path.insert(0, path)
    try:
        work(*arguments)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def in_two_processes(work: Callable[..., object], *arguments: object) -> None:
    """Call `work(*arguments)` in two processes that `vitrail.runtime.distributed` finds to be a group.

    Raises
    ------
    torch.multiprocessing.ProcessRaisedException
        When one of them fails, with its traceback; the other is ended.
    """
    multiprocessing.set_forkserver_preload(PRELOADED)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.start_processes(_call_as_one_of_two, (port, work, arguments), nprocs=2, start_method="forkserver")


def _call_as_one_of_two(rank: int, port: int, work: Callable[..., object], arguments: Sequence[object]) -> None:
    _like_a_program()
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    work(*arguments)


def _like_a_program() -> None:
    """Undo what differs from a program: children would be started as this process was, importing everything anew."""
    torch.set_num_threads(1)
    multiprocessing.set_start_method(None, force=True)


def execute(program: str, *arguments: str) -> None:
    """Run the text of a program, as `python -c` does."""
    sys.argv = ["-c", *arguments]
    exec(program, {"__name__": "__main__"})
