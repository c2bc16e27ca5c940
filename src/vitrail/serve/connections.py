"""Connections of slow and silent clients: closed after a time, and the oldest first where there are too many."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from vitrail.serve.limits import ServiceLimits

if TYPE_CHECKING:
    from asyncio import Protocol


class Waiting:
    """The connections that have not sent a whole request header, the oldest first.

    Parameters
    ----------
    limit : int
        How many connections may be open.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.open = 0
        self._silent: dict[Any, asyncio.Transport] = {}

    def add(self, connection: Any, transport: asyncio.Transport) -> None:
        """Note a connection that waits for a header; the oldest one makes room if there are too many."""
        self._silent[connection] = transport
        if self.open > self.limit:
            oldest = next(iter(self._silent))
            self._silent.pop(oldest).abort()

    def remove(self, connection: Any) -> None:
        """Forget a connection that has sent a header or is closed."""
        self._silent.pop(connection, None)


def bounded_protocol(limits: ServiceLimits) -> type[Protocol]:
    """Return uvicorn's HTTP protocol with limits on connections that send nothing or read nothing.

    uvicorn itself limits only the pause between an answer and the next request.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    waiting = Waiting(limits.max_connections)

    class BoundedProtocol(H11Protocol):
        """A connection that is closed when the client is too slow."""

        _timer: asyncio.TimerHandle | None = None
        _reading: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            waiting.open += 1
            self._await_header()

        def connection_lost(self, exc: Exception | None) -> None:
            waiting.open -= 1
            self._header_is_there()
            self.resume_writing()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is None or self.cycle.response_complete:
                if self._timer is None and not self.transport.is_closing():
                    self._await_header()
            else:
                self._header_is_there()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._header_is_there()  # from here uvicorn's own limit counts, until the next byte

        def pause_writing(self) -> None:
            super().pause_writing()
            if self._reading is None:
                self._reading = self.loop.call_later(limits.header_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._reading is not None:
                self._reading.cancel()
                self._reading = None

        def _await_header(self) -> None:
            self._timer = self.loop.call_later(limits.header_seconds, self.transport.abort)
            waiting.add(self, self.transport)

        def _header_is_there(self) -> None:
            waiting.remove(self)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return BoundedProtocol
