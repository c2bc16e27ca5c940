"""Limits of the service, and budgets that hold what is in work below them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

from vitrail.errors import ServiceError


@dataclass(frozen=True)
class ServiceLimits:
    """What the service takes from its clients.

    Attributes
    ----------
    max_bytes : int
        Size of one picture as it is sent.
    max_pixels : int
        Pixels of one picture.
    max_images : int
        Pictures that are accepted and not answered yet; the next one gets status 429.
    max_total_pixels : int
        Pixels of all accepted pictures together; the decoded picture takes 3 bytes for each.
    max_total_bytes : int
        Bytes of all requests that are being read or answered.
    max_connections : int
        Open connections. One more closes the oldest one that has not sent a whole request header.
    header_seconds : float
        Time for the header of a request, and for a client to read on once an answer waits for it.
    body_seconds : float
        Time for the body of a request.
    answer_seconds : float
        Time from the body to the answer; then the client gets status 503.

    Raises
    ------
    ServiceError
        When a limit is not positive, or one picture of the largest size would not fit into the totals.
    """

    max_bytes: int = 32 << 20
    max_pixels: int = 64_000_000
    max_images: int = 64
    max_total_pixels: int = 256_000_000
    max_total_bytes: int = 512 << 20
    max_connections: int = 500
    header_seconds: float = 10
    body_seconds: float = 60
    answer_seconds: float = 120

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) <= 0:
                raise ServiceError(f"{each.name} must be positive, not {getattr(self, each.name)}")
        if self.max_pixels > self.max_total_pixels:
            raise ServiceError(
                f"max_total_pixels={self.max_total_pixels} does not hold one picture of max_pixels={self.max_pixels}"
            )
        if self.max_body_bytes > self.max_total_bytes:
            raise ServiceError(
                f"max_total_bytes={self.max_total_bytes} does not hold one request of {self.max_body_bytes} bytes, "
                f"which max_bytes={self.max_bytes} needs as base64"
            )

    @property
    def max_body_bytes(self) -> int:
        """Size of the body of a request: a picture in base64, and what stands around it."""
        return self.max_bytes * 4 // 3 + 8192


class BusyError(ServiceError):
    """There is no room for a request now; later there will be."""


class Budget:
    """An amount that is shared by the requests in work. Used from the thread of the event loop only.

    Parameters
    ----------
    limit : int
        The largest sum.
    what : str
        What is counted, for messages.
    on_change : callable, optional
        Called with the sum when it has changed.
    """

    def __init__(self, limit: int, what: str, on_change: Callable[[int], None] | None = None) -> None:
        self.limit = limit
        self.what = what
        self.used = 0
        self._on_change = on_change

    @contextlib.contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Take an amount for a block.

        Raises
        ------
        BusyError
            When it is not left.
        """
        self.take(amount)
        try:
            yield
        finally:
            self.give_back(amount)

    def take(self, amount: int) -> None:
        """Take an amount until `give_back`; raises a BusyError as `taken` does."""
        if self.used + amount > self.limit:
            raise BusyError(f"the service is busy: {self.used:,} of {self.limit:,} {self.what} are in work")
        self._change(amount)

    def give_back(self, amount: int) -> None:
        """Return an amount that was taken."""
        self._change(-amount)

    def _change(self, amount: int) -> None:
        self.used += amount
        if self._on_change is not None:
            self._on_change(self.used)
