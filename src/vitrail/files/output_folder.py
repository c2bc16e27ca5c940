"""Folders that results are written to: on a disk of this machine, or behind an address in object storage.

Every file of either appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from vitrail.errors import DatasetError, PredictionError
from vitrail.files.regular import read_regular
from vitrail.files.remote import OBJECT_STORAGES, RemoteStore, remote_address

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/+.*", re.IGNORECASE | re.DOTALL)
_SAME = {"s3a": "s3", "gcs": "gs", "abfss": "abfs"}  # other names of one storage


class OutputFolder(Protocol):
    """A folder for results; names of files are relative to it, with forward slashes."""

    def locate(self, name: str = "") -> str:
        """Return the path or the address of a file, or of the folder, for people."""

    def subfolder(self, name: str) -> OutputFolder:
        """Return a folder inside."""

    def contains(self, name: str) -> bool:
        """Return whether a name stays inside the folder."""

    def identity(self, name: str) -> str:
        """Return what is equal for two names of one file, as far as links and several names of a storage matter."""

    def identities(self, files: Iterable[str | Path]) -> set[str]:
        """Return the identities of those among some paths and addresses that are in the folder."""

    def taken(self, name: str) -> bool:
        """Return whether anything is there under a name."""

    def is_written(self, name: str) -> bool:
        """Return whether a file is there; after a power failure there may be an empty one in its place."""

    def names(self) -> list[str]:
        """Return the names of all files, those of subfolders too, sorted."""

    def read(self, name: str) -> bytes:
        """Return the content of a file; a PredictionError when it cannot be read."""

    def writing(self, name: str) -> AbstractContextManager[Path]:
        """Give a path to write a file to, whole or not at all; when the block ends without error, it is in its place.

        What is there under the name is replaced.
        """

    def remove(self, names: Sequence[str]) -> None:
        """Remove files."""

    def remove_subfolders(self, pattern: str) -> None:
        """Remove the subfolders whose names match a pattern, with all that is in them."""


def open_output_folder(path: str | Path) -> OutputFolder:
    """Return the folder for results at a path, or at an address such as "s3://bucket/masks"; it need not exist yet.

    Raises
    ------
    PredictionError
        For an address that cannot be written to, and as `remote_address` and `RemoteStore` for one that names no place
        or needs a package that is missing.
    """
    text = path.as_posix() if isinstance(path, Path) else path
    with _as_prediction_error():
        address = remote_address(path)
    scheme = _SCHEME.fullmatch(text)
    if address is None and (scheme is None or Path(path).exists()):
        return DiskFolder(Path(path))
    name = scheme[1] if scheme else ""
    if name == "file":
        return DiskFolder(Path("/" + unquote(text[len("file:") :]).lstrip("/")))
    if name not in OBJECT_STORAGES:
        written = ", ".join(f"{each}://" for each in OBJECT_STORAGES if each not in (*_SAME, "memory"))
        raise PredictionError(f"cannot write to {address or text}: give a folder, or an address that begins {written}")
    assert address is not None
    with _as_prediction_error():
        return StoredFolder(RemoteStore(address))


def shown_path(path: str | Path) -> str:
    """Return a path for people; an address has the two slashes that a `Path` takes from it."""
    return remote_address(path) or str(path)


class DiskFolder:
    """A folder on a disk.

    Parameters
    ----------
    path : Path
        Made when the first file is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._resolved = functools.lru_cache(maxsize=1024)(Path.resolve)  # of folders: it asks for all of their parts

    def locate(self, name: str = "") -> str:
        """Return the path."""
        return str(self.path / name)

    def subfolder(self, name: str) -> DiskFolder:
        """Return a folder inside."""
        return DiskFolder(self.path / name)

    def contains(self, name: str) -> bool:
        """Return whether a name stays inside, links followed."""
        return self._resolved((self.path / name).parent).is_relative_to(self._resolved(self.path))

    def identity(self, name: str) -> str:
        """Return the path with the links of its folder followed."""
        path = self.path / name
        return str(self._resolved(path.parent) / path.name)

    def identities(self, files: Iterable[str | Path]) -> set[str]:
        """Return the real paths of the files inside, and of those that are links and may lead there."""
        folder = self._resolved(self.path)
        inside: dict[str, bool] = {}  # by the folder of the file; strings, as there may be millions
        found = set()
        for file in files:
            head = os.path.dirname(file)  # noqa: PTH120
            if head not in inside:
                inside[head] = "://" not in head and self._resolved(Path(head)).is_relative_to(folder)
            if inside[head] or ("://" not in head and os.path.islink(file)):  # noqa: PTH114
                found.add(str(Path(file).resolve()))
        return found

    def taken(self, name: str) -> bool:
        """Return whether there is a file, a folder or a link of that name, be it broken."""
        return os.path.lexists(self.path / name)

    def is_written(self, name: str) -> bool:
        """Return whether a file is there that is not empty."""
        path = self.path / name
        return path.is_file() and path.stat().st_size > 0

    def names(self) -> list[str]:
        """Return the names of all files."""
        return sorted(file.relative_to(self.path).as_posix() for file in self.path.rglob("*") if file.is_file())

    def read(self, name: str) -> bytes:
        """Return the content of a file; a PredictionError when it cannot be read."""
        return read_regular(self.path / name, PredictionError)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Give the path itself: whoever writes there does so as `atomic_path`."""
        yield self.path / name

    def remove(self, names: Sequence[str]) -> None:
        """Remove files."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def remove_subfolders(self, pattern: str) -> None:
        """Remove the subfolders that match a pattern."""
        for folder in self.path.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)


class StoredFolder:
    """The files below an address in object storage, listed once: what is there is then known without a request.

    What others write afterwards is not seen. Files are written to the temporary folder of this machine (TMPDIR) and
    uploaded when they are finished; what fails and may pass is tried again, as in reading.

    Parameters
    ----------
    store : RemoteStore
        Its address is the folder.
    """

    def __init__(self, store: RemoteStore) -> None:
        self._store = store
        self._listed: dict[str, int] | None = None  # sizes by name

    def locate(self, name: str = "") -> str:
        """Return the address."""
        return self._store.locate(name)

    def subfolder(self, name: str) -> StoredFolder:
        """Return the objects below one more prefix, which are listed by themselves."""
        return StoredFolder(RemoteStore(self._store.locate(name)))

    def contains(self, name: str) -> bool:
        """Return whether a name has no empty parts and none that lead upwards."""
        return not any(part in ("", ".", "..") for part in name.split("/"))

    def identity(self, name: str) -> str:
        """Return the address, by one name of its storage."""
        return _one_name(self.locate(name))

    def identities(self, files: Iterable[str | Path]) -> set[str]:
        """Return the addresses inside."""
        start = f"{_one_name(self.locate())}/"
        addresses = (_one_name(file) for file in files if isinstance(file, str) and "://" in file)
        return {address for address in addresses if address.startswith(start)}

    def taken(self, name: str) -> bool:
        """Return whether there is an object of that name."""
        return name in self._sizes()

    def is_written(self, name: str) -> bool:
        """Return whether there is an object that is not empty."""
        return self._sizes().get(name, 0) > 0

    def names(self) -> list[str]:
        """Return the names of all objects."""
        return sorted(self._sizes())

    def read(self, name: str) -> bytes:
        """Return the content of an object; a PredictionError when it cannot be read."""
        with _as_prediction_error():
            return self._store.read(name)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Give a temporary path whose file is uploaded in the end."""
        with tempfile.TemporaryDirectory(prefix="vitrail-") as folder:
            path = Path(folder, name.rpartition("/")[2])
            yield path
            with _as_prediction_error():
                self._store.write(name, path)
            if self._listed is not None:
                self._listed[name] = path.stat().st_size

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects."""
        with _as_prediction_error():
            self._store.remove(names)
        for name in names:
            self._sizes().pop(name, None)

    def remove_subfolders(self, pattern: str) -> None:
        """Remove the objects below the prefixes that match a pattern."""
        self._listed = None  # other processes may have written some of them
        self.remove([name for name in self.names() if "/" in name and fnmatchcase(name.partition("/")[0], pattern)])

    def _sizes(self) -> dict[str, int]:
        if self._listed is None:
            with _as_prediction_error():
                self._listed = self._store.sizes_below("")
        return self._listed


def _one_name(address: str) -> str:
    """Return an address with one name for each storage, so that addresses of one object are equal."""
    scheme, _, rest = address.partition("://")
    return f"{_SAME.get(scheme, scheme)}://{rest}"


@contextlib.contextmanager
def _as_prediction_error() -> Iterator[None]:
    try:
        yield
    except DatasetError as error:
        raise PredictionError(str(error)) from error
