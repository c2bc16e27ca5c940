"""Downloads against a local server that interrupts, lies, dawdles and refuses."""

from __future__ import annotations

import errno
import hashlib
import io
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from vitrail.checkpoints import load
from vitrail.errors import CheckpointError, VitrailError
from vitrail.files import download as download_module
from vitrail.files import web
from vitrail.files.download import cache_folder, download, hash_in_name

DATA = bytes(range(256)) * 1200
DIGEST = hashlib.sha256(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one file, misbehaving as it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = DATA
        self.etag: str | None = '"one"'
        self.ranges = True
        self.cut: list[int] = []  # after how many bytes each of the next answers breaks off
        self.status: list[int] = []  # what the next answers are instead
        self.stall, self.before_stall = 0.0, 1000
        self.most: int | None = None  # how many bytes one answer to a request for a part holds
        self.shift = 0  # how far the part that is sent lies from the one that was asked for
        self.kind = "application/octet-stream"
        self.states_length = True
        self.headers: dict[str, str] = {}
        self.redirects: dict[str, str] = {}  # by the last part of the path
        self.plain_status = 0  # a status without a body
        self.drip = 0.0  # seconds between single bytes
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if target := server.redirects.get(self.path.rpartition("/")[2]):
            self.send_response(302)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if server.plain_status:
            self.send_response(server.plain_status)
            self.end_headers()
            return
        if server.status and (status := server.status.pop(0)) != 200:
            self.send_error(status)
            return
        same = self.headers.get("If-Range") in (None, server.etag)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges and same else 0
        if start >= len(server.data):
            self.send_error(416)
            return
        start += server.shift if start else 0
        body = server.data[start : start + server.most if start and server.most else None]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", server.kind)
        if server.states_length:
            self.send_header("Content-Length", str(len(body)))
        for name, value in server.headers.items():
            self.send_header(name, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(server.data)}")
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        if server.cut:
            body = body[: server.cut.pop(0)]
        if server.drip:
            for index in range(len(body)):
                self.wfile.write(body[index : index + 1])
                self.wfile.flush()
                time.sleep(server.drip)
        self.wfile.write(body[: server.before_stall])
        self.wfile.flush()
        time.sleep(server.stall)
        self.wfile.write(body[server.before_stall :])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("VITRAIL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("VITRAIL_OFFLINE", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def fetch(url: str, **options) -> Path:
    return download(url, **{"timeout": 5, "attempts": 2, "pause": 0.01, **options})


def leftovers() -> set[str]:
    return {path.suffix for path in cache_folder().rglob("*") if path.is_file()} - {".pth", ".lock", ".sha256"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fcn_20200515-2966598c.pth", "2966598c"),
        (f"model-{DIGEST}.safetensors", DIGEST),
        ("fcn-20200515.pth", None),
        ("fcn_2966598c.pth", None),
        ("fcn-20991399.pth", "20991399"),
        ("fcn.pth", None),
    ],
)
def test_the_hash_that_a_file_name_promises(name: str, expected: str | None) -> None:
    assert hash_in_name(name) == expected


def test_a_file_is_fetched_once_and_kept(server: Server) -> None:
    path = fetch(f"{server.url}/model-{DIGEST[:8]}.pth")
    assert path.read_bytes() == DATA
    assert path.is_relative_to(cache_folder())
    assert fetch(f"{server.url}/model-{DIGEST[:8]}.pth") == path
    assert server.asked == [None]
    assert leftovers() == set()


def test_files_of_one_name_from_two_places_do_not_mix(server: Server) -> None:
    first = fetch(f"{server.url}/a/model.pth")
    server.data = b"other"
    assert fetch(f"{server.url}/b/model.pth").read_bytes() == b"other"
    assert first.read_bytes() == DATA


def test_an_interrupted_download_goes_on_where_it_ended(server: Server) -> None:
    server.cut = [100_000, 50_000]
    assert fetch(f"{server.url}/model.pth").read_bytes() == DATA
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_call_goes_on_too(server: Server) -> None:
    server.cut = [100_000]
    server.status = [200, 503, 503]
    with pytest.raises(CheckpointError, match=r"503.*100,000 bytes are kept"):
        fetch(f"{server.url}/model.pth")
    assert not list(cache_folder().rglob("*.pth"))
    assert fetch(f"{server.url}/model.pth").read_bytes() == DATA
    assert server.asked[-1] == "bytes=100000-"


def test_a_server_without_ranges_starts_again(server: Server) -> None:
    server.cut, server.ranges = [100_000], False
    assert fetch(f"{server.url}/model.pth").read_bytes() == DATA


@pytest.mark.parametrize("etag", ['"two"', None])
def test_parts_of_two_versions_are_never_joined(server: Server, etag: str | None) -> None:
    server.etag = '"one"' if etag else None
    server.cut, server.status = [100_000], [200, 503, 503]
    with pytest.raises(CheckpointError, match="503"):
        fetch(f"{server.url}/model.pth")
    server.data, server.etag = bytes(reversed(DATA)), etag
    assert fetch(f"{server.url}/model.pth").read_bytes() == server.data


def test_a_wrong_hash_is_refused_and_nothing_kept(server: Server) -> None:
    with pytest.raises(CheckpointError, match=f"wrong hash: it should start with 00000000, but is {DIGEST}"):
        fetch(f"{server.url}/model-00000000.pth")
    with pytest.raises(CheckpointError, match="wrong hash"):
        fetch(f"{server.url}/model.pth", sha256="0" * 64)
    assert not list(cache_folder().rglob("*.pth"))
    assert not list(cache_folder().rglob("*.part"))


def test_a_cached_file_that_was_tampered_with_is_fetched_again(server: Server) -> None:
    url = f"{server.url}/model-{DIGEST[:8]}.pth"
    fetch(url).write_bytes(b"tampered")
    assert fetch(url).read_bytes() == DATA


def test_a_part_that_is_longer_than_the_file_is_given_up(server: Server) -> None:
    url = f"{server.url}/model-{DIGEST[:8]}.pth"
    path = fetch(url)
    path.rename(path.with_name(f"{path.name}.part"))
    assert fetch(url).read_bytes() == DATA


def test_a_damaged_part_is_noticed_and_the_file_fetched_afresh(server: Server) -> None:
    url = f"{server.url}/model-{DIGEST[:8]}.pth"
    server.cut, server.status = [100_000], [200, 503, 503]
    with pytest.raises(CheckpointError, match="100,000 bytes are kept"):
        fetch(url)
    (part,) = cache_folder().rglob("*.part")
    part.write_bytes(bytes(100_000))
    assert fetch(url).read_bytes() == DATA
    assert server.asked[-2:] == ["bytes=100000-", None]
    assert leftovers() == set()


def test_a_hash_lets_a_server_without_etags_continue(server: Server) -> None:
    server.etag, server.cut = None, [100_000]
    assert fetch(f"{server.url}/model-{DIGEST[:8]}.pth").read_bytes() == DATA
    assert server.asked == [None, "bytes=100000-"]
    server.cut, server.asked = [100_000], []
    assert fetch(f"{server.url}/model.pth", sha256=DIGEST[:12].upper()).read_bytes() == DATA
    assert server.asked == [None, "bytes=100000-"]


def test_answers_of_less_than_was_asked_for_are_put_together(server: Server) -> None:
    server.cut, server.most = [1000], 100_000
    assert fetch(f"{server.url}/model.pth").read_bytes() == DATA
    assert server.asked == [None, "bytes=1000-", "bytes=101000-", "bytes=201000-", "bytes=301000-"]


def test_another_part_than_was_asked_for_is_not_taken(server: Server) -> None:
    server.cut, server.shift = [100_000], 5
    assert fetch(f"{server.url}/model.pth").read_bytes() == DATA
    assert server.asked == [None, "bytes=100000-", None]


def test_a_killed_download_goes_on_where_it_ended(server: Server) -> None:
    url = f"{server.url}/model.pth"
    server.before_stall, server.stall = 200_000, 60
    program = f"from vitrail.files.download import download; download({url!r})"
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        deadline = time.monotonic() + 60
        while not any(part.stat().st_size for part in cache_folder().rglob("*.part")):
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline, "nothing came"
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (part,) = cache_folder().rglob("*.part")
    kept = part.stat().st_size
    assert 0 < kept < len(DATA)
    server.stall = 0
    assert fetch(url).read_bytes() == DATA
    assert server.asked == [None, f"bytes={kept}-"]


def test_a_network_that_goes_away_is_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """`OSError` is what a full disk raises too: only the network is asked again."""
    real, calls = HTTPResponse.read1, []

    def unplugged(self: HTTPResponse, amount: int = -1) -> bytes:
        calls.append(amount)
        if len(calls) == 2:
            raise OSError(errno.EHOSTUNREACH, "No route to host")
        return real(self, min(amount, 100_000))

    monkeypatch.setattr(HTTPResponse, "read1", unplugged)
    assert fetch(f"{server.url}/model.pth").read_bytes() == DATA
    assert len(server.asked) == 2


def test_a_full_disk_is_said_and_what_came_is_kept(server: Server) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"cannot keep .*model\.pth"):
            fetch(f"{server.url}/model.pth")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(cache_folder().rglob("*.pth"))
    assert fetch(f"{server.url}/model.pth").read_bytes() == DATA
    assert server.asked == [None, "bytes=100000-"]


def test_a_web_page_in_the_place_of_a_file_is_not_kept(server: Server) -> None:
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(CheckpointError, match="is a web page"):
        fetch(f"{server.url}/model.pth")
    assert not list(cache_folder().rglob("*.pth"))


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://host/x.pth", "x.pth", "http://[x/y.pth", "http://a b/x.pth", "http://a/\u00fc d"],
)
def test_what_is_no_address_on_the_web_is_refused(server: Server, url: str) -> None:
    with pytest.raises(CheckpointError, match="address"):
        fetch(url)


@pytest.mark.parametrize("path", ["..", "%2e%2e", "a%2Fb.pth", "a%00b.pth", "", "x" * 400, "%5c..%5cx"])
def test_names_cannot_leave_the_folder(server: Server, path: str) -> None:
    place = fetch(f"{server.url}/{path}")
    assert place.read_bytes() == DATA
    assert place.resolve().parent.parent == cache_folder().resolve() / "downloads"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_shows_on_a_terminal_and_nowhere_else(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for screen, shows in ((Terminal(), True), (io.StringIO(), False)):
        server.stall, server.before_stall = 0.3, 200_000
        monkeypatch.setattr(sys, "stderr", screen)
        fetch(f"{server.url}/{shows}/model.pth")
        assert ("model.pth" in screen.getvalue()) == shows
        assert ("307k" in screen.getvalue()) == shows, screen.getvalue()


@pytest.mark.parametrize("status", [403, 404])
def test_refusals_are_final_and_named(server: Server, status: int) -> None:
    server.status = [status] * 9
    with pytest.raises(CheckpointError, match=f"answers {status}"):
        fetch(f"{server.url}/model.pth")
    assert len(server.asked) == 1


def test_a_server_that_is_busy_is_asked_again(server: Server) -> None:
    server.status = [503]
    assert fetch(f"{server.url}/model.pth").read_bytes() == DATA


def test_slow_servers_are_waited_for_and_silent_ones_given_up(server: Server) -> None:
    server.stall = 0.3
    assert fetch(f"{server.url}/slow.pth", timeout=30).read_bytes() == DATA
    server.stall, server.before_stall = 3.0, 0
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match="timed out"):
        fetch(f"{server.url}/silent.pth", timeout=0.2, attempts=1)
    assert time.perf_counter() - start < 2.5


def test_no_server_at_all(server: Server) -> None:
    url = server.url
    server.server_close()
    with pytest.raises(CheckpointError, match="cannot be fetched"):
        fetch(f"{url}/model.pth", timeout=0.5)


def test_the_cache_is_where_vitrail_home_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VITRAIL_HOME", "~/models")
    assert cache_folder() == tmp_path / "models"
    monkeypatch.setenv("VITRAIL_HOME", "")
    assert cache_folder() == tmp_path / ".cache" / "vitrail"
    monkeypatch.delenv("VITRAIL_HOME")
    assert cache_folder() == tmp_path / ".cache" / "vitrail"


def test_offline_mode_takes_what_is_cached_and_nothing_else(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch(f"{server.url}/model.pth")
    monkeypatch.setenv("VITRAIL_OFFLINE", "1")
    assert fetch(f"{server.url}/model.pth") == path
    with pytest.raises(CheckpointError, match="VITRAIL_OFFLINE"):
        fetch(f"{server.url}/other.pth")
    assert len(server.asked) == 1


def test_several_callers_share_one_download(server: Server) -> None:
    server.stall = 0.2
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(fetch(f"{server.url}/m.pth"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1
    assert len(server.asked) == 1


def test_a_model_loads_from_its_address(server: Server, model_file: Path, model) -> None:
    server.data = model_file.read_bytes()
    assert load(f"{server.url}/small.safetensors").card == model.card


def test_an_unverified_file_that_cannot_be_read_is_fetched_again(server: Server, model_file: Path) -> None:
    server.data = model_file.read_bytes()[:1000]  # complete, as far as the server says
    with pytest.raises(CheckpointError, match=r"small\.safetensors is damaged.*next try fetches it again"):
        load(f"{server.url}/small.safetensors")
    assert not list(cache_folder().rglob("small.safetensors*[!k]"))
    server.data = model_file.read_bytes()
    assert load(f"{server.url}/small.safetensors").card is not None


def refused(server: Server, match: str, **options) -> None:
    """Nothing of what the server sends is kept as the file, and the next call asks again."""
    for count in (1, 2):
        with pytest.raises(CheckpointError, match=match):
            fetch(f"{server.url}/model.pth", **options)
        assert len(server.asked) >= count
    assert not list(cache_folder().rglob("*.pth"))


def test_an_answer_of_unknown_length_is_not_kept_without_a_hash(server: Server) -> None:
    server.states_length = False
    refused(server, "states no length")
    assert fetch(f"{server.url}/model.pth", sha256=DIGEST).read_bytes() == DATA


def test_an_empty_answer_is_not_kept(server: Server) -> None:
    server.plain_status = 204
    refused(server, "answers 204")
    server.plain_status, server.headers = 200, {"Content-Length": "0"}
    refused(server, "states no length")


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
def test_a_text_in_the_place_of_a_file_is_not_kept(server: Server, kind: str) -> None:
    server.kind = kind
    refused(server, f"sends {kind}")
    assert fetch(f"{server.url}/model.pth", sha256=DIGEST).read_bytes() == DATA


def test_a_compressed_answer_is_not_kept(server: Server) -> None:
    server.headers = {"Content-Encoding": "gzip"}
    refused(server, "compressed")


def test_a_part_that_nobody_asked_for_is_not_kept_as_the_whole(server: Server) -> None:
    server.plain_status = 206
    refused(server, "answers 206")


def test_a_file_larger_than_the_disk_is_refused_before_it_is_fetched(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    refused(server, "only 1,000 are free")


def test_a_cached_file_that_was_damaged_is_fetched_again_once(server: Server) -> None:
    path = fetch(f"{server.url}/model.pth")
    path.write_bytes(DATA[:-1] + b"x")
    assert fetch(f"{server.url}/model.pth").read_bytes() == DATA
    assert fetch(f"{server.url}/model.pth").read_bytes() == DATA
    assert len(server.asked) == 2


def test_redirects_are_followed_to_the_web_only(server: Server) -> None:
    server.redirects = {
        "a.pth": f"{server.url}/b.pth",
        "ftp.pth": "ftp://127.0.0.1/x.pth",
        "file.pth": "file:///etc/passwd",
    }
    assert fetch(f"{server.url}/a.pth").read_bytes() == DATA
    for name in ("ftp", "file"):
        with pytest.raises(CheckpointError, match=r"(?i)redirect"):
            fetch(f"{server.url}/{name}.pth")


def test_no_redirect_leads_from_a_public_server_to_a_private_network(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.redirects = {"a.pth": f"http://localhost:{server.server_port}/b.pth"}
    monkeypatch.setattr(web, "is_private", lambda host: host == "localhost")  # as if 127.0.0.1 were public
    with pytest.raises(CheckpointError, match="private network"):
        fetch(f"{server.url}/a.pth")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("10.1.2.3", True),
        ("192.168.0.1", True),
        ("169.254.169.254", True),
        ("::1", True),
        ("8.8.8.8", False),
        ("a name that nobody has", False),
    ],
)
def test_private_addresses(host: str, private: bool) -> None:
    assert web.is_private(host) == private


def test_a_server_that_crawls_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "PATIENCE", 0.5)
    server.drip = 0.05
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match="bytes came in 1 seconds"):
        fetch(f"{server.url}/model.pth", timeout=30)
    assert time.perf_counter() - start < 5


def test_a_download_that_another_process_holds_is_waited_for_and_then_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(download_module, "PATIENCE", 0.5)
    place = fetch(f"{server.url}/model.pth").parent
    (place / "model.pth").unlink()
    with FileLock(place / "model.pth.lock"):
        with pytest.raises(CheckpointError, match="without progress: end that process"):
            fetch(f"{server.url}/model.pth", timeout=0.5)
        assert "waiting for another process" in capsys.readouterr().err
    assert fetch(f"{server.url}/model.pth").read_bytes() == DATA


@pytest.mark.parametrize(
    ("value", "offline"), [("false", False), ("0", False), ("", False), ("True", True), ("on", True)]
)
def test_offline_mode_is_read_as_people_write_it(
    server: Server, monkeypatch: pytest.MonkeyPatch, value: str, offline: bool
) -> None:
    monkeypatch.setenv("VITRAIL_OFFLINE", value)
    if offline:
        with pytest.raises(CheckpointError, match="VITRAIL_OFFLINE"):
            fetch(f"{server.url}/model.pth")
    else:
        assert fetch(f"{server.url}/model.pth").read_bytes() == DATA


def test_a_switch_that_is_neither_on_nor_off_is_an_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRAIL_OFFLINE", "maybe")
    with pytest.raises(VitrailError, match="VITRAIL_OFFLINE is 'maybe'"):
        fetch(f"{server.url}/model.pth")
