"""Services on loopback with small models."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from helpers.service import Client, small_model

from vitrail.serve import ServedModel, Service, ServiceLimits


@pytest.fixture(scope="session")
def served() -> list[ServedModel]:
    return [ServedModel("first", small_model(), device="cpu"), ServedModel("second", small_model(), device="cpu")]


Start = Callable[..., Client]


@pytest.fixture
def start(served: list[ServedModel]) -> Iterator[Start]:
    """Start services that end with the test."""
    running: list[tuple[Service, threading.Thread]] = []

    def begin(models: list[ServedModel] | None = None, *, api_key: str | None = None, **limits: float) -> Client:
        service = Service(models or served, port=0, limits=ServiceLimits(**limits), api_key=api_key)
        thread = threading.Thread(target=service.run)
        thread.start()
        running.append((service, thread))
        return Client(service.url)

    yield begin
    for service, thread in running:
        service.stop()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def client(served: list[ServedModel]) -> Iterator[Client]:
    service = Service(served, port=0, limits=ServiceLimits(max_bytes=200_000, max_pixels=100_000))
    thread = threading.Thread(target=service.run)
    thread.start()
    yield Client(service.url)
    service.stop()
    thread.join(20)
    assert not thread.is_alive()
