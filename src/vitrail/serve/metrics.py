"""Prometheus metrics of the service."""

from __future__ import annotations

import os

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # of the environment, where several processes keep their figures together


class Metrics:
    """Counters and histograms in a registry of their own, so that several services can live in one process.

    Where the environment names a `SHARED_FOLDER`, the figures are the sums of all processes that do so.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "vitrail_requests", "Requests to segment a picture.", ["model", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "vitrail_request_seconds",
            "Time from the header of a request to its answer.",
            ["model"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._batch = Histogram(
            "vitrail_batch_images", "Pictures in a batch.", ["model"], buckets=BATCHES, registry=self.registry
        )
        self._pass = Histogram(
            "vitrail_batch_seconds", "Time to compute a batch.", ["model"], buckets=SECONDS, registry=self.registry
        )
        self._in_work = Gauge(
            "vitrail_images_in_work",
            "Pictures accepted and not answered.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._waiting = Gauge(
            "vitrail_images_waiting",
            "Pictures that wait for the model.",
            ["model"],
            registry=self.registry,
            multiprocess_mode="livesum",
        )

    def request(self, model: str, status: int, seconds: float) -> None:
        """Count an answered request; `model` is "" where the request names none that is served."""
        self._requests.labels(model, str(status)).inc()
        self._seconds.labels(model).observe(seconds)

    def batch(self, model: str, images: int, seconds: float) -> None:
        """Count a batch."""
        self._batch.labels(model).observe(images)
        self._pass.labels(model).observe(seconds)

    def in_work(self, images: int) -> None:
        """Note how many pictures are accepted and not answered."""
        self._in_work.set(images)

    def waiting(self, model: str, images: int) -> None:
        """Note how many pictures wait for a model."""
        self._waiting.labels(model).set(images)

    def text(self) -> tuple[bytes, str]:
        """Return all figures in Prometheus' text format, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = self.registry
        if SHARED_FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry), CONTENT_TYPE_LATEST


def forget_process(pid: int) -> None:
    """Leave the state of a process that has ended out of the figures of all; what it counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)
