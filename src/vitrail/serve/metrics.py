"""Prometheus metrics of the service."""

from __future__ import annotations

from collections.abc import Callable

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters and histograms in a registry of their own, so that several services can live in one process."""

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
        self._in_work = Gauge("vitrail_images_in_work", "Pictures accepted and not answered.", registry=self.registry)
        self._waiting = Gauge(
            "vitrail_images_waiting", "Pictures that wait for the model.", ["model"], registry=self.registry
        )

    def request(self, model: str, status: int, seconds: float) -> None:
        """Count an answered request; `model` is "" where the request names none that is served."""
        self._requests.labels(model, str(status)).inc()
        self._seconds.labels(model).observe(seconds)

    def batch(self, model: str, images: int, seconds: float) -> None:
        """Count a batch."""
        self._batch.labels(model).observe(images)
        self._pass.labels(model).observe(seconds)

    def show_in_work(self, number: Callable[[], float]) -> None:
        """Take the number of accepted pictures from a function."""
        self._in_work.set_function(number)

    def show_waiting(self, model: str, number: Callable[[], float]) -> None:
        """Take the number of pictures that wait for a model from a function."""
        self._waiting.labels(model).set_function(number)

    def text(self) -> tuple[bytes, str]:
        """Return all figures in Prometheus' text format, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST
