"""Files in object storage and on the web, through fsspec: retried, verified, and kept in a cache of bounded size.

What is written to object storage appears whole or not at all: storages give a file its name when all of it is there.

Only addresses that a user gives are opened: none comes from a model file or from data.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import io
import os
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from vitrail.errors import DatasetError
from vitrail.files.byte_cache import ByteCache, cache_limit
from vitrail.files.download import cache_folder
from vitrail.files.environment import env_switch
from vitrail.files.regular import MAX_BYTES
from vitrail.files.web import check_redirect

OBJECT_STORAGES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "memory")  # that replace files as a whole
STORAGES = (*OBJECT_STORAGES, "adl", "hdfs", "webhdfs")
SCHEMES = (*STORAGES, "https", "http", "hf")
ATTEMPTS = 6
MORE_ATTEMPTS = 3  # once the storage has answered: together they last more than a minute, so that a run outlives one
PAUSE = 0.5  # seconds before the second attempt, doubled for each further one
_ADDRESS = re.compile(rf"({'|'.join(SCHEMES)}):/+(.+)")
_WITHOUT_PLACE = frozenset(f"{scheme}:" for scheme in SCHEMES)
_PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError)
_VERSIONS = (
    "ETag",
    "etag",
    "md5Hash",
    "generation",
    "LastModified",
    "last_modified",
    "Last-Modified",
    "mtime",
    "created",
)

Result = TypeVar("Result")


class RemoteFile(NamedTuple):
    """What a storage says of a file.

    Attributes
    ----------
    size : int
        Bytes.
    version : str
        Its ETag, or whatever else changes when the content does; empty where the storage says nothing.
    md5 : str
        The MD5 of the content in base64, where the storage says so.
    """

    size: int
    version: str
    md5: str


def remote_address(path: str | Path) -> str | None:
    """Return an address such as "s3://bucket/folder", of which a `Path` has one slash; None for a path on this machine.

    Raises
    ------
    DatasetError
        For an address that chains several storages ("::"), and one that ends after its "s3://".
    """
    text = path.as_posix() if isinstance(path, Path) else path
    if text.rstrip("/") in _WITHOUT_PLACE and not Path(path).exists():
        scheme = text.rstrip("/")
        raise DatasetError(f"{scheme}// names no place: an address goes on, as {scheme}//bucket/folder does")
    match = _ADDRESS.fullmatch(text)
    if match is None or Path(path).exists():
        return None
    if "::" in text:
        raise DatasetError(f"{text} chains several storages: give the address of the archive itself, without '::'")
    return f"{match[1]}://{match[2].rstrip('/')}"


class RemoteStore:
    """The files below an address.

    Can be sent to other processes; each opens a connection of its own.

    Parameters
    ----------
    address : str
        As `remote_address` returns it.
    attempts, pause : int, float
        How often what fails is tried until the storage has answered once (`MORE_ATTEMPTS` are added afterwards), and
        the seconds before the second attempt, which double each time.

    Raises
    ------
    DatasetError
        When a package is missing, and where VITRAIL_OFFLINE forbids to connect.
    """

    def __init__(self, address: str, *, attempts: int = ATTEMPTS, pause: float = PAUSE) -> None:
        if env_switch("VITRAIL_OFFLINE") and not address.startswith("memory:"):
            raise DatasetError(f"{address} cannot be reached: VITRAIL_OFFLINE forbids to connect")
        self.address = address
        self._attempts, self._pause = attempts, pause
        self._cache = ByteCache(cache_folder() / "objects", cache_limit())
        self._found: dict[str, RemoteFile | None] = {}
        self._answered = False
        self._opened: tuple[int, Any, str] | None = None
        self._filesystem()

    def locate(self, name: str) -> str:
        """Return the address of a file."""
        return f"{self.address}/{name}" if name else self.address

    def names_below(self, folder: str) -> list[str]:
        """Return the names of the files in a folder and its subfolders, sorted.

        Raises
        ------
        DatasetError
            When the storage cannot be reached or forbids it.
        """
        files = self._listing(folder)
        for name, info in files.items():
            if info.get("size") is not None:  # the page of a web server may say nothing but names
                self._found[name] = _described(info)
        return list(files)

    def sizes_below(self, folder: str) -> dict[str, int]:
        """Return the sizes in bytes of the files that `names_below` names, as they are now; nothing else is kept."""
        return {name: int(info.get("size") or 0) for name, info in self._listing(folder).items()}

    def _listing(self, folder: str) -> dict[str, Mapping[str, Any]]:
        fs, root = self._filesystem()

        def ask() -> Mapping[str, Any]:
            fs.invalidate_cache()
            found: Mapping[str, Any] = fs.find(f"{root}/{folder}" if folder else root, detail=True)
            return found

        try:
            found = self._retried(ask, self.locate(folder))
        except FileNotFoundError:
            return {}
        fs.invalidate_cache()  # which would keep all of it
        return {
            path[len(root) :].lstrip("/"): info
            for path, info in sorted(found.items())
            if info.get("type") != "directory" and not path.endswith("/")
        }

    def find(self, name: str) -> RemoteFile | None:
        """Return what the storage says of a file, asked once; None when there is none."""
        if name not in self._found:
            self._found[name] = self._ask(name)
        return self._found[name]

    def check_unchanged(self, name: str) -> None:
        """Raise a DatasetError when a file has changed since it was found."""
        if self.find(name) != self._ask(name):
            raise DatasetError(f"{self.locate(name)} has changed while it was used: start again")

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Return the bytes of a file from `start` up to `end`, both within it, from the cache if they are there.

        Raises
        ------
        DatasetError
            When there is no such file, it is larger than 4 GiB, or it cannot be read, or not whole, in all attempts.
        """
        found = self.find(name)
        if found is None:
            raise DatasetError(f"cannot read {self.locate(name)}: there is no such file")
        end = found.size if end is None else min(end, found.size)
        if end - start > MAX_BYTES:
            raise DatasetError(f"cannot read {self.locate(name)}: it is too large, {end - start:,} bytes")
        if end <= start:
            return b""

        def fetch() -> bytes:
            return self._fetch(name, found, start, end)

        if not found.version:  # nothing would tell that it has changed
            return fetch()
        return self._cache.get(f"{self.locate(name)}\n{found}\n{start}-{end}", fetch)

    def write(self, name: str, file: Path) -> None:
        """Put the content of a file of this machine under a name, whole or not at all; what is there is replaced.

        Raises
        ------
        DatasetError
            When it cannot be written in all attempts, or there is no such bucket.
        """
        fs, root = self._filesystem()
        checked = {"consistency": "md5"} if self.address.startswith(("gs:", "gcs:")) else {}
        try:
            self._retried(lambda: fs.put_file(str(file), f"{root}/{name}", **checked), self.locate(name), "write")
        except FileNotFoundError as error:
            raise DatasetError(f"cannot write {self.locate(name)}: there is no such bucket") from error
        self._found.pop(name, None)

    def remove(self, names: Sequence[str]) -> None:
        """Remove files; those that are gone already are none to remove.

        Raises
        ------
        DatasetError
            When the storage cannot be reached or forbids it.
        """
        fs, root = self._filesystem()
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._retried(functools.partial(fs.rm_file, f"{root}/{name}"), self.locate(name), "remove")
            self._found.pop(name, None)

    def _fetch(self, name: str, found: RemoteFile, start: int, end: int) -> bytes:
        fs, root = self._filesystem()
        path = f"{root}/{name}" if name else root
        whole = start == 0 and end == found.size

        def read() -> bytes:
            data: bytes = fs.cat_file(path) if whole else fs.cat_file(path, start=start, end=end)
            if len(data) != end - start:
                raise _IncompleteError(f"{len(data):,} bytes came in place of {end - start:,}")
            if whole and found.md5 and base64.b64encode(hashlib.md5(data).digest()).decode() != found.md5:
                raise _IncompleteError("the content does not have the MD5 that the storage states")
            return data

        try:
            return self._retried(read, self.locate(name))
        except FileNotFoundError as error:
            raise DatasetError(f"cannot read {self.locate(name)}: there is no such file any more") from error

    def _ask(self, name: str) -> RemoteFile | None:
        fs, root = self._filesystem()
        path = f"{root}/{name}" if name else root

        def ask() -> Mapping[str, Any]:
            fs.invalidate_cache()
            try:
                found: Mapping[str, Any] = fs.info(path)
            except FileNotFoundError as error:
                raise _web_error(error) or error from error.__cause__
            return found

        try:
            info = self._retried(ask, self.locate(name))
        except FileNotFoundError:
            return None
        if info["type"] == "directory":
            return None
        if info.get("size") is None:
            raise DatasetError(f"cannot read {self.locate(name)}: the server does not state the size of the file")
        return _described(info)

    def _retried(self, action: Callable[[], Result], where: str, verb: str = "read") -> Result:
        """Return what an action returns; what may be a passing failure is tried again.

        Every storage has errors of its own, so only what is known to last is not tried again. A file that is missing is
        for the caller.
        """
        attempts = self._attempts + (MORE_ATTEMPTS if self._answered else 0)
        for attempt in range(attempts):
            try:
                answer = action()
                self._answered = True
                return answer
            except (FileNotFoundError, DatasetError):  # noqa: PERF203
                raise
            except (*_PERMANENT, TypeError, ImportError) as error:
                raise DatasetError(f"cannot {verb} {where}: {_reason(error)}{_credentials(error)}") from error
            except Exception as error:
                if attempt == attempts - 1:
                    raise DatasetError(
                        f"cannot {verb} {where} in {attempts} attempts: {_reason(error)}{_credentials(error)}"
                    ) from error
                time.sleep(self._pause * 2**attempt * random.uniform(0.5, 1))  # not all workers at the same moment
        raise AssertionError

    def _filesystem(self) -> tuple[Any, str]:
        """Return the file system of this process, and the root in its words."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), *_connect(self.address))
        return self._opened[1], self._opened[2]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


class RangeFile(io.RawIOBase):
    """A remote file that libraries can read at any place; small readings share one request.

    Parameters
    ----------
    store : RemoteStore
        Where the file is.
    name : str
        Its name in the store.
    step : int
        The least number of bytes to ask for.
    """

    def __init__(self, store: RemoteStore, name: str, step: int = 1 << 16) -> None:
        super().__init__()
        found = store.find(name)
        if found is None:
            raise DatasetError(f"cannot read {store.locate(name)}: there is no such file")
        self.size = found.size
        self._store, self._name, self._step = store, name, step
        self._at = self._start = 0
        self._held = b""

    def load(self, start: int, end: int) -> None:
        """Ask for a range in one request; what is read next should lie in it."""
        self._start, self._held = start, self._store.read(self._name, start, end)

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes."""
        end = self.size if size is None or size < 0 else min(self._at + size, self.size)
        if end <= self._at:
            return b""
        if not (self._start <= self._at and end <= self._start + len(self._held)):
            self.load(self._at, min(max(end, self._at + self._step), self.size))
        data = self._held[self._at - self._start : end - self._start]
        self._at = end
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place."""
        self._at = max(offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence], 0)
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True


class _IncompleteError(Exception):
    """Something else came than was asked for."""


def _connect(address: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise DatasetError(f"{address} is read with fsspec: pip install 'vitrail[cloud]'") from error
    try:
        fs, root = fsspec.core.url_to_fs(address, **(_web_options() if address.startswith("http") else {}))
    except ImportError as error:
        known = address.startswith(("s3", "gs:", "gcs:", "http"))
        install = "pip install 'vitrail[cloud]'" if known else str(error)
        raise DatasetError(f"{address} needs a package of its own: {install}") from error
    except Exception as error:  # of each storage's own kind, such as a setting that is missing
        raise DatasetError(f"cannot open {address}: {_reason(error)}") from error
    return fs, root.rstrip("/")


@functools.cache
def _web_options() -> dict[str, Any]:
    """Return what fsspec gives to its client for the web, which checks redirects as downloads do."""
    import aiohttp

    async def check(_: Any, context: Any, redirect: Any) -> None:
        target = redirect.url.join(type(redirect.url)(redirect.response.headers.get("Location", "")))
        check_redirect(str(redirect.url), str(target), DatasetError)

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(check)
    return {"client_kwargs": {"trace_configs": [trace]}}


def _web_error(missing: FileNotFoundError) -> Exception | None:
    """Return what has made fsspec call a file on the web missing: a server that fails or refuses; None if it is."""
    cause = missing.__cause__
    of_web = type(cause).__module__.partition(".")[0] == "aiohttp"
    if isinstance(cause, DatasetError) or (of_web and getattr(cause, "status", None) not in (404, 410)):
        return cause if isinstance(cause, Exception) else None
    return None


def _described(info: Mapping[str, Any]) -> RemoteFile:
    version = next((str(info[key]) for key in _VERSIONS if info.get(key)), "")
    return RemoteFile(int(info["size"]), version, str(info.get("md5Hash") or ""))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}" if str(error) else type(error).__name__


def _credentials(error: Exception) -> str:
    """Return advice on how to log in where that may be the cause."""
    if not isinstance(error, PermissionError) and "redential" not in f"{type(error).__name__}{error}":
        return ""
    return (
        " (credentials are those of the storage's own tools: its environment variables, configuration files or the "
        "machine's role; for a public bucket set FSSPEC_S3_ANON=true or FSSPEC_GS_TOKEN=anon)"
    )
