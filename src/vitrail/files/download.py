"""Downloads that can be interrupted, are checked, and land whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException, HTTPResponse, InvalidURL
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from vitrail import __version__
from vitrail.errors import CheckpointError

CHUNK = 1 << 20
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[A-Za-z]\w*$")
_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")


class _Interrupted(Exception):
    """The connection ended before the file did; what came is kept."""


def cache_folder() -> Path:
    """Return the folder of downloads: `VITRAIL_HOME`, or ~/.cache/vitrail."""
    return Path(os.environ.get("VITRAIL_HOME") or "~/.cache/vitrail").expanduser()


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

    An interrupted download goes on where it ended, in this call or a later one. Progress shows on a terminal.

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
        When the server refuses, cannot be reached or sends a web page, the hash is wrong, the disk is full, or
        `VITRAIL_OFFLINE=1` and the file is not in the cache.
    """
    if not url.startswith(("http://", "https://")):
        raise CheckpointError(
            f"{url} is not the address of a file on the web: it should begin with https:// or http://"
        )
    name = _file_name(url)
    expected = (sha256 or hash_in_name(name) or "").lower()
    place = (folder or cache_folder() / "downloads") / hashlib.sha256(url.encode()).hexdigest()[:12]
    target = place / name
    if target.is_file() and _matches(target, expected):
        return target
    if os.environ.get("VITRAIL_OFFLINE", "0") not in ("", "0"):
        raise CheckpointError(f"{url} is not in the cache ({target}), and VITRAIL_OFFLINE forbids downloading it")
    try:
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / f"{name}.lock"):  # two processes that want the same file share one download
            if not (target.is_file() and _matches(target, expected)):
                _fetch(url, target, expected, timeout=timeout, attempts=attempts, pause=pause)
    except OSError as error:
        raise CheckpointError(f"cannot keep {url} at {target}: {error}") from error
    return target


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
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout) as response:
            if response.headers.get_content_type() == "text/html":
                raise CheckpointError(f"{url} is a web page, not a file: look there for the address of the file itself")
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


def _continues(response: HTTPResponse, start: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _strong_validator(response: HTTPResponse) -> str:
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _copy(response: HTTPResponse, part: Path, start: int) -> None:
    total = _total(response, start)
    with (
        part.open("ab" if start else "wb") as file,
        tqdm(desc=part.stem, initial=start, total=total, unit="B", unit_scale=True, disable=None, leave=False) as bar,
    ):
        while chunk := _read(response):
            file.write(chunk)
            bar.update(len(chunk))
        received = file.tell()
    if total is not None and received < total:
        raise _Interrupted(f"the connection ended after {received:,} of {total:,} bytes")


def _total(response: HTTPResponse, start: int) -> int | None:
    """Return the size of the whole file, if the server tells; a server may answer with less than was asked for."""
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


def _matches(path: Path, expected: str) -> bool:
    return not expected or _sha256(path).startswith(expected)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
