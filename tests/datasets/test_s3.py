"""Data in S3: against a server of our own (moto), whose faults are injected by a proxy in front of it."""

from __future__ import annotations

import http.client
import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from vitrail.datasets import create_dataset
from vitrail.errors import DatasetError
from vitrail.files import remote

pytestmark = pytest.mark.nightly

Fault = Callable[[BaseHTTPRequestHandler, bytes], bytes | None]


def unavailable(request: BaseHTTPRequestHandler, body: bytes) -> None:
    request.send_error(503, "Slow Down")


def late(request: BaseHTTPRequestHandler, body: bytes) -> bytes:
    time.sleep(0.3)
    return body


def truncated(request: BaseHTTPRequestHandler, body: bytes) -> bytes:
    return body[: len(body) // 2]


def proxy(port: int, faults: Iterator[Fault | None]) -> ThreadingHTTPServer:
    """Return a server that passes requests on, and what happens to the answers of those that ask for content."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request(self.command, self.path, self.rfile.read(length), dict(self.headers))
            answer = connection.getresponse()
            body = answer.read()
            wants_content = self.command == "GET" and "list-type" not in self.path
            fault = next(faults) if wants_content else None
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


@pytest.fixture
def images(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    root = tmp_path / "data"
    for index in range(12):
        for folder, high, shape in (("images", 255, (64, 80, 3)), ("masks", 3, (64, 80))):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, high, shape, np.uint8)).save(root / folder / f"{index:02d}.png")
    (root / "classes.yaml").write_text("classes: [a, b, c]\n")
    return root


@pytest.fixture
def bucket(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A bucket with the images as files, as a .zip and as a .tar, behind a proxy with faults in two of five answers."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    port = server.get_host_and_port()[1]
    faults = itertools.cycle([unavailable, None, truncated, None, late])
    front = proxy(port, faults)
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{front.server_port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "VITRAIL_HOME": str(tmp_path / "home"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3 = s3fs.S3FileSystem()
    s3.mkdir("bucket")
    s3.put(str(images), "bucket/data", recursive=True)
    for kind in ("zip", "tar"):
        s3.put(shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path, "data"), f"bucket/data.{kind}")
    yield ["s3://bucket/data", "s3://bucket/data.zip", "s3://bucket/data.tar"]
    s3fs.S3FileSystem.clear_instance_cache()
    front.shutdown()
    front.server_close()
    server.stop()


@pytest.mark.filterwarnings("ignore")  # of moto and botocore
def test_samples_in_s3_are_those_of_the_disk_through_all_faults(bucket: list[str], images: Path) -> None:
    here = create_dataset("folder", images, "all")
    for address in bucket:
        there = create_dataset("folder", Path(address), "all")
        loaded = list(DataLoader(there, batch_size=None, num_workers=2))
        assert [sample["id"] for sample in loaded] == here.ids
        for one, other in zip(here, loaded, strict=True):
            assert torch.equal(one["image"], other["image"]) and torch.equal(one["mask"], other["mask"])
    with pytest.raises(DatasetError, match="s3://none"):
        create_dataset("folder", "s3://none/data", "all")
