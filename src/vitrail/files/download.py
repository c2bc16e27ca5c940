"""Downloads: resumable, checked, and kept only when complete."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException, HTTPResponse, InvalidURL
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from vitrail import __version__
from vitrail.errors import CheckpointError
from vitrail.files.environment import env_switch
from vitrail.files.home import expand_home
from vitrail.files.printable import printable
from vitrail.files.web import open_url

CHUNK = 1 << 20
SLOWEST = 1024  # bytes per second; slower over `PATIENCE` seconds counts as broken
PATIENCE = 60.0  # seconds
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[A-Za-z]\w*$")
_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")


class _Interrupted(Exception):
    """The connection ended before the file did; what came is kept."""


def cache_folder() -> Path:
    """Return the folder of downloads: `VITRAIL_HOME`, or ~/.cache/vitrail."""
    return expand_home(os.environ.get("VITRAIL_HOME") or "~/.cache/vitrail")


def hash_in_name(name: str) -> str | None:
    """Return the start of the SHA-256 that a file name promises (`name-76da4bf9.pth`), None without one.

    Eight digits that are a date are none.
    """
    found = _HASH_IN_NAME.search(name)
    return found[1] if found and not _DATE.fullmatch(found[1]) else None


def download(
    url: str,
    *,
    sha256: str | None = None,
    folder: Path | None = None,
    timeout: float = 30.0,
    attempts: int = 5,
    pause: float = 1.0,
) -> Path:
    """Return the local copy of a file on the web, fetching it when there is none.

    An interrupted download continues where it ended, in this call or a later one. Progress is shown on a terminal.
    A file is kept only when it can be verified: by its hash, or else by the length that the server states. Its own hash
    is recorded beside it, so that a cached file which was damaged later is downloaded again, once.

    Parameters
    ----------
    url : str
        http or https.
    sha256 : str, optional
        The hash of the file in hex, or how it starts (any number of digits, in any case); by default what the name of
        the file promises, if anything (see `hash_in_name`).
    folder : path, optional
        Where to keep it; by default the cache folder (`VITRAIL_HOME`, else ~/.cache/vitrail).
    timeout : float
        Seconds without any data after which the connection counts as broken.
    attempts : int
        How often a connection that brings nothing new is tried; one that brought data does not count.
    pause : float
        Seconds before the second attempt, doubled for every further one.

    Returns
    -------
    Path
        The complete, checked file.

    Raises
    ------
    CheckpointError
        When the server refuses, cannot be reached, sends less than 1 kB per second for a minute, sends a text or an
        answer of unknown length instead of the file, or redirects elsewhere than to the web; when the hash is wrong,
        the disk is full, another process holds the download without making progress; and when `VITRAIL_OFFLINE=1` and
        the file is not in the cache.
    """
    if not url.startswith(("http://", "https://")):
        raise CheckpointError(
            f"{url} is not the address of a file on the web: it should begin with https:// or http://"
        )
    name = _file_name(url)
    expected = (sha256 or hash_in_name(name) or "").lower()
    place = (folder or cache_folder() / "downloads") / hashlib.sha256(url.encode()).hexdigest()[:12]
    target = place / name
    if _is_complete(target, expected):
        return target
    if env_switch("VITRAIL_OFFLINE"):
        raise CheckpointError(f"{url} is not in the cache ({target}), and VITRAIL_OFFLINE forbids downloading it")
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = _acquire(place / f"{name}.lock", target.with_name(f"{name}.part"), url, stalled=timeout + PATIENCE)
        with lock:  # two processes that want the same file share one download
            if not _is_complete(target, expected):
                _fetch(url, target, expected, timeout=timeout, attempts=attempts, pause=pause)
    except OSError as error:
        raise CheckpointError(f"cannot keep {url} at {target}: {error}") from error
    return target


def discard(path: Path) -> None:
    """Remove the local copy of a file that `download` returned, so that the next call fetches it again."""
    for file in (path, _record_of(path)):
        file.unlink(missing_ok=True)


def _acquire(path: Path, part: Path, url: str, *, stalled: float) -> FileLock:
    """Return the lock of a download, acquired; wait while another process that holds it makes progress."""
    lock = FileLock(path)
    if _try(lock):
        return lock
    print(printable(f"waiting for another process that downloads {url}"), file=sys.stderr)  # noqa: T201
    size, since = _size(part), time.monotonic()
    while not _try(lock):
        if _size(part) != size:
            size, since = _size(part), time.monotonic()
        elif time.monotonic() - since > stalled:
            raise CheckpointError(
                f"another process has held the download of {url} for {stalled:.0f} seconds without progress: end "
                f"that process and try again (lock file: {path})"
            )
    return lock


def _try(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=1)
    except Timeout:
        return False
    return True


def _file_name(url: str) -> str:
    """Return the last part of an address, with nothing in it that a file system minds."""
    try:
        path = urllib.parse.urlsplit(url).path
    except ValueError as error:
        raise CheckpointError(f"{url!r} is not an address: {error}") from error
    last = urllib.parse.unquote(path.rstrip("/").rpartition("/")[2])
    return re.sub(r"[^\w.+=@-]", "_", last)[-200:].lstrip(".") or "download"


def _fetch(url: str, target: Path, expected: str, *, timeout: float, attempts: int, pause: float) -> None:
    part = target.with_name(f"{target.name}.part")
    validator = target.with_name(f"{target.name}.etag")
    joined = _receive_all(url, part, validator, bool(expected), timeout=timeout, attempts=attempts, pause=pause)
    if joined and not _matches(part, expected):  # the earlier part may be of another version, or damaged: start again
        part.unlink()
        _receive_all(url, part, validator, bool(expected), timeout=timeout, attempts=attempts, pause=pause)
    if not _matches(part, expected):
        found = _sha256(part)
        part.unlink()
        raise CheckpointError(
            f"{url} has the wrong hash: it should start with {expected}, but is {found}. The download was deleted."
        )
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    _record_of(target).write_text(_sha256(part))
    part.replace(target)
    validator.unlink(missing_ok=True)


def _receive_all(
    url: str, part: Path, validator: Path, resume: bool, *, timeout: float, attempts: int, pause: float
) -> bool:
    """Ask until `part` is complete; return whether something of it was there before the last answer."""
    fruitless = 0
    while True:
        before = _size(part)
        try:
            _receive(url, part, validator, resume=resume, timeout=timeout)
            return before > 0
        except _Interrupted as error:
            fruitless = 0 if _size(part) > before else fruitless + 1
            if fruitless >= attempts:
                kept = f" {_size(part):,} bytes are kept: try again to go on from there." if _size(part) else ""
                raise CheckpointError(f"{url} cannot be fetched: {error}.{kept}") from error
            time.sleep(pause * 2**fruitless)


def _receive(url: str, part: Path, validator: Path, *, resume: bool, timeout: float) -> None:
    """Append to `part` what is missing of the file.

    Without a hash to check in the end, only a server that vouches for the file being the same (If-Range) may append.
    """
    start = _size(part)
    tag = validator.read_text() if validator.is_file() else ""
    headers = {"User-Agent": f"vitrail/{__version__}", "Accept-Encoding": "identity"}
    if start and (tag or resume):
        headers["Range"] = f"bytes={start}-"
        if tag:
            headers["If-Range"] = tag
    try:
        with open_url(urllib.request.Request(url, headers=headers), timeout=timeout) as response:
            _check_answer(response, url, ranged="Range" in headers, hashed=resume)
            if response.status != 206:
                start = 0
            elif not _continues(response, start):
                part.unlink(missing_ok=True)
                raise _Interrupted("the server sent another part of the file than was asked for")
            validator.write_text(_strong_validator(response))
            _copy(response, part, start)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # what is here is not a beginning of what is there
            part.unlink(missing_ok=True)
            raise _Interrupted("the server has nothing that continues the earlier download") from error
        if error.code >= 500 or error.code in (408, 429):
            raise _Interrupted(f"the server answers {error.code} {error.reason}") from error
        raise CheckpointError(f"{url} cannot be fetched: the server answers {error.code} {error.reason}") from error
    except (InvalidURL, UnicodeError) as error:
        raise CheckpointError(f"{url!r} is not an address: {error}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException) as error:
        raise _Interrupted(str(getattr(error, "reason", error)) or type(error).__name__) from error


def _check_answer(response: HTTPResponse, url: str, *, ranged: bool, hashed: bool) -> None:
    """Refuse an answer that is not the file; without a hash also one whose completeness cannot be verified.

    Raises
    ------
    CheckpointError
        The message says what the server sent.
    """
    kind = response.headers.get_content_type() if "Content-Type" in response.headers else ""
    if kind == "text/html":
        raise CheckpointError(f"{url} is a web page, not a file: look there for the address of the file itself")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise CheckpointError(f"{url} cannot be used: the server sends it compressed ({encoding}) though not asked to")
    if response.status not in ((200, 206) if ranged else (200,)):
        raise CheckpointError(f"{url} cannot be fetched: the server answers {response.status} {response.reason}")
    if hashed:
        return
    if kind.startswith("text/") or kind == "application/json":
        raise CheckpointError(f"{url} is no file of weights: the server sends {kind}")
    length = response.headers.get("Content-Length", "")
    if not length.isdecimal() or not int(length):
        raise CheckpointError(
            f"{url} cannot be verified: the server states no length, and there is no hash to check. Download it by "
            "other means and give the local file"
        )


def _continues(response: HTTPResponse, start: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _strong_validator(response: HTTPResponse) -> str:
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _copy(response: HTTPResponse, part: Path, start: int) -> None:
    total = _total(response, start)
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        raise CheckpointError(f"{part.stem} has {total:,} bytes, but only {free:,} are free in {part.parent}")
    pace = _Pace()
    with (
        part.open("ab" if start else "wb") as file,
        tqdm(
            desc=printable(part.stem), initial=start, total=total, unit="B", unit_scale=True, disable=None, leave=False
        ) as bar,
    ):
        while chunk := _read(response):
            file.write(chunk)
            bar.update(len(chunk))
            pace.check(len(chunk))
        received = file.tell()
    if total is not None and received < total:
        raise _Interrupted(f"the connection ended after {received:,} of {total:,} bytes")


class _Pace:
    """Raises when less than `SLOWEST` bytes per second came over `PATIENCE` seconds."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._received = 0

    def check(self, received: int) -> None:
        self._received += received
        seconds = time.monotonic() - self._start
        if seconds < PATIENCE:
            return
        if self._received < SLOWEST * seconds:
            raise CheckpointError(
                f"the download is given up: {self._received:,} bytes came in {seconds:.0f} seconds. What came is kept: "
                "try again to continue from there"
            )
        self._start, self._received = time.monotonic(), 0


def _total(response: HTTPResponse, start: int) -> int | None:
    """Return the size of the whole file, if the server states it; a server may answer with less than was asked for."""
    whole = response.headers.get("Content-Range", "").rpartition("/")[2]
    if start and whole.isdecimal():
        return int(whole)
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() else None


def _read(response: HTTPResponse) -> bytes:
    """Return what has come, telling errors of the connection from those of the disk that it is written to."""
    try:
        return response.read1(CHUNK)
    except OSError as error:
        raise _Interrupted(str(error) or type(error).__name__) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _record_of(target: Path) -> Path:
    """Return where the hash of a downloaded file is recorded."""
    return target.with_name(f"{target.name}.sha256")


def _is_complete(target: Path, expected: str) -> bool:
    """Return whether a file in the cache has the hash that is expected, or else the one it was downloaded with."""
    record = _record_of(target)
    recorded = record.read_text().strip() if record.is_file() else ""
    return target.is_file() and _matches(target, expected or recorded)


def _matches(path: Path, expected: str) -> bool:
    return not expected or _sha256(path).startswith(expected)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
