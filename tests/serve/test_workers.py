"""Several processes of one service: they share the port and the figures, and one that dies is replaced."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.service import Client, picture, small_model

from vitrail.checkpoints import save_model
from vitrail.errors import ServiceError
from vitrail.serve import ServiceLimits
from vitrail.serve.server import listen, url_of
from vitrail.serve.workers import Workers, WorkerSettings


def until(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)


def workers(count: int, *models: str) -> tuple[Workers, Client]:
    settings = WorkerSettings(models, {"device": "cpu"}, ServiceLimits(), True, None, 1)
    listening = listen("127.0.0.1", 0)
    return Workers(count, settings, listening), Client(url_of("127.0.0.1", listening))


def healthy(client: Client) -> bool:
    try:
        return client.get("/healthz")[0] == 200
    except OSError:  # requests wait in the socket while a worker starts, longer than this client does
        return False


def answered(client: Client) -> int:
    found = re.search(r'^vitrail_requests_total{.*status="200"} (\S+)', client.get("/metrics")[2].decode(), re.M)
    return int(float(found[1])) if found else 0


@pytest.mark.nightly
def test_a_worker_that_dies_is_replaced_and_figures_are_those_of_all(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    save_model(small_model(), path)
    before = set(multiprocessing.active_children())
    service, client = workers(1, str(path))
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        until(lambda: healthy(client))
        (first,) = set(multiprocessing.active_children()) - before
        assert client.segment(picture())[0] == 200
        os.kill(first.pid, signal.SIGKILL)
        first.join()
        until(lambda: healthy(client))
        assert client.segment(picture())[0] == 200
        assert answered(client) == 2
        (second,) = set(multiprocessing.active_children()) - before
        assert second.pid != first.pid
    finally:
        service.stop()
        thread.join(60)
    assert not thread.is_alive() and second.exitcode in (0, -signal.SIGTERM)  # uvicorn passes the signal on at its end
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ


@pytest.mark.nightly
def test_a_model_that_cannot_be_loaded_ends_the_service() -> None:
    service, _ = workers(1, "no_such_model")
    with pytest.raises(ServiceError, match="unknown model 'no_such_model'"):
        service.run()
