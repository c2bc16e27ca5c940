"""Starting and stopping the service."""

from __future__ import annotations

import importlib.util
import ipaddress
import socket
from collections.abc import Sequence

from vitrail.errors import ServiceError
from vitrail.serve.app import create_app
from vitrail.serve.guard import LOCAL_HOSTS
from vitrail.serve.limits import ServiceLimits
from vitrail.serve.models import ServedModel

MODULES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
BACKLOG = 1024


class Service:
    """The service on a socket that is open from the start: requests wait in it until `run`.

    Parameters
    ----------
    models : sequence of ServedModel
        The first one answers requests that name none.
    host : str
        Address to listen on.
    port : int
        0 takes a free one.
    limits : ServiceLimits
        What is taken from clients.
    api_key : str, optional
        Required for everything but the page and /healthz.
    listening : socket, optional
        An open socket in place of host and port.
    local : bool, optional
        Whether the service is reached from this computer only, and answers to its names only; None sees by the host.

    Attributes
    ----------
    url : str
        Where the service answers.

    Raises
    ------
    ServiceError
        When the [serve] extra is missing, or the address cannot be listened on.
    """

    def __init__(
        self,
        models: Sequence[ServedModel],
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        limits: ServiceLimits | None = None,
        api_key: str | None = None,
        listening: socket.socket | None = None,
        local: bool | None = None,
    ) -> None:
        check_installed()
        import uvicorn

        from vitrail.serve.connections import bounded_protocol

        limits = limits or ServiceLimits()
        self._socket = listening or listen(host, port)
        self.url = url_of(host, self._socket)
        local = is_local(host) if local is None else local
        config = uvicorn.Config(
            create_app(models, limits, hosts=LOCAL_HOSTS if local else None, api_key=api_key),
            http=bounded_protocol(limits),
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=int(limits.body_seconds + limits.answer_seconds) + 1,
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Answer requests until SIGINT, SIGTERM or `stop`; then finish what was accepted."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """End `run` from another thread."""
        self._server.should_exit = True


def check_installed() -> None:
    """Raise a ServiceError that says what to install where the [serve] extra is missing."""
    missing = [module for module in MODULES if importlib.util.find_spec(module) is None]
    if missing:
        raise ServiceError(f"the service needs {', '.join(missing)}: pip install 'vitrail[serve]'")


def is_local(host: str) -> bool:
    """Return whether an address is reached from this computer only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Return an open socket at an address.

    Raises
    ------
    ServiceError
        When the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise ServiceError(
            f"cannot listen on {host} port {port} ({getattr(error, 'strerror', None) or error}): choose another --host "
            "or --port, or --port 0 for any free one"
        ) from error


def url_of(host: str, listening: socket.socket) -> str:
    """Return the address of a service at a host's socket."""
    port = listening.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/"
