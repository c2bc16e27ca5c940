"""How the processes that load images are started."""

from __future__ import annotations

import multiprocessing
import sys

import pytest

from vitrail.datasets.worker_errors import process_options


@pytest.fixture
def start_method():
    before = multiprocessing.get_start_method(allow_none=True)
    yield lambda name: multiprocessing.set_start_method(name, force=True)
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a fork is not safe")
def test_loaders_fork_on_linux_unless_the_program_has_chosen(start_method) -> None:
    start_method(None)
    assert process_options(2)["multiprocessing_context"] == "fork"
    start_method("spawn")
    assert process_options(2)["multiprocessing_context"] is None
    assert process_options(0) == {"num_workers": 0}
