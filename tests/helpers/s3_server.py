"""An S3 server of our own (moto), whose faults are injected by a proxy in front of it."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vitrail.files import remote

Fault = Callable[[BaseHTTPRequestHandler, bytes], bytes | None]


def unavailable(request: BaseHTTPRequestHandler, body: bytes) -> None:
    request.send_error(503, "Slow Down")


def late(request: BaseHTTPRequestHandler, body: bytes) -> bytes:
    time.sleep(0.3)
    return body


def truncated(request: BaseHTTPRequestHandler, body: bytes) -> bytes:
    return body[: len(body) // 2]


def proxy(port: int, faults: Iterator[Fault | None]) -> ThreadingHTTPServer:
    """Return a server that passes requests on, and what happens to those that ask for content or bring some."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = next(faults) if self.command == "PUT" and content else None
            if fault is unavailable:  # before anything is stored
                fault(self, b"")
                return
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request(self.command, self.path, content, dict(self.headers))
            answer = connection.getresponse()
            body = answer.read()
            wants_content = self.command == "GET" and "list-type" not in self.path
            fault = next(faults) if wants_content else fault
            sent = body if fault is None else fault(self, body)
            if sent is None:
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            size = answer.getheader("Content-Length") if self.command == "HEAD" else len(body)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(sent)
            if len(sent) < len(body):
                self.close_connection = True

        do_HEAD = do_PUT = do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@contextlib.contextmanager
def s3_server(faults: Iterator[Fault | None], home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a server to which s3:// leads, with an empty bucket called "bucket", behind a proxy with faults.

    Parameters
    ----------
    faults : iterator
        What happens to the next reading or writing of content, or None.
    home : Path
        For caches.
    monkeypatch : MonkeyPatch
        Sets the environment, and short pauses between attempts.
    """
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    port = server.get_host_and_port()[1]
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/moto-api/reset")  # of what earlier servers of this process hold
    connection.getresponse().read()
    front = proxy(port, faults)
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{front.server_port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "VITRAIL_HOME": str(home),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    try:
        s3fs.S3FileSystem().mkdir("bucket")
        yield
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        front.shutdown()
        front.server_close()
        server.stop()
