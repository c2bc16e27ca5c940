"""Memory that the process keeps for its next step."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import vitrail.cli
from vitrail.runtime.host_memory import (
    CHOSEN_BY_USER,
    M_ARENA_MAX,
    M_MMAP_MAX,
    M_MMAP_THRESHOLD,
    M_TRIM_THRESHOLD,
    MMAP_THRESHOLD,
    keep_freed_memory,
)

PAGES = """
import resource, sys, threading
import torch
from vitrail.runtime.host_memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(40 << 18)  # 40 MiB: more than glibc keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = keep_freed_memory() if sys.argv[1] == "keep" else None
faults()
here = faults()
there = []
thread = threading.Thread(target=lambda: there.append((faults(), faults())[1]))
thread.start()
thread.join()
print(kept, here, there[0])
"""


def page_faults(how: str, **environment: str) -> tuple[str, int, int]:
    """Return what `keep_freed_memory` returned, and the page faults of ten buffers in the main and another thread."""
    clean = {name: value for name, value in os.environ.items() if name not in (*CHOSEN_BY_USER, "GLIBC_TUNABLES")}
    done = subprocess.run(
        [sys.executable, "-c", PAGES, how], env=clean | environment, capture_output=True, text=True, check=True
    )
    kept, here, there = done.stdout.split()
    return kept, int(here), int(there)


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}), reason="needs glibc's malloc")
def test_freed_buffers_are_used_again_in_every_thread() -> None:
    _, before, before_there = page_faults("default")
    kept, after, after_there = page_faults("keep")
    assert kept == "True"
    assert min(before, before_there) > 10 * 1000  # with pages of 4 KiB, 10,240 for each of ten buffers
    assert max(after, after_there) < 1000


@pytest.mark.parametrize(
    "environment", [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}]
)
def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert not keep_freed_memory()


def test_an_older_glibc_refuses_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*CHOSEN_BY_USER, "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.31", raising=False)
    calls = []

    def mallopt(name: int, value: int) -> int:
        calls.append((name, value))
        return int((name, value) != (M_MMAP_THRESHOLD, MMAP_THRESHOLD))

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    assert keep_freed_memory()
    assert calls[1:] == [(M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_ARENA_MAX, 1)]


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", unknown, raising=False)
    assert not keep_freed_memory()


def test_the_command_keeps_memory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls = []
    monkeypatch.setattr(vitrail.cli, "keep_freed_memory", lambda: calls.append(True))
    monkeypatch.setattr(sys, "argv", ["vitrail", "--version"])
    with pytest.raises(SystemExit):
        vitrail.cli.main()
    assert calls == [True]
    assert capsys.readouterr().out.startswith("vitrail")
