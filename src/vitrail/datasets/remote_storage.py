"""Storage of dataset files behind an address: folders of objects, and archives that are read by ranges."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path
from typing import IO, cast

from vitrail.datasets.storage import Archive, Tar, Zip, is_hidden, tar_places
from vitrail.datasets.tar_index import kept_index
from vitrail.errors import DatasetError
from vitrail.files.regular import MAX_BYTES
from vitrail.files.remote import RangeFile, RemoteStore

_DIRECTORY = 1 << 16  # bytes to ask for at the end of a .zip archive, where its directory begins or lies whole
_HEADER = 1 << 14  # bytes to ask for around the header of a file in a .tar archive


class RemoteFolder:
    """The files below an address, such as s3://bucket/folder.

    Parameters
    ----------
    address : str
        Without a slash at its end.

    Raises
    ------
    DatasetError
        When a package is missing, or VITRAIL_OFFLINE forbids to connect.
    """

    def __init__(self, address: str) -> None:
        self.store = RemoteStore(address)
        self._listed: dict[str, list[str]] = {}

    def below(self, folder: str) -> list[str]:
        """Return the files in `folder` and its subfolders, listed once; hidden ones are left out."""
        if "" in self._listed:
            prefix = f"{folder.rstrip('/')}/" if folder else ""
            return [name for name in self._listed[""] if name.startswith(prefix)]
        if folder not in self._listed:
            names = self.store.names_below(folder)
            self._listed[folder] = sorted(name for name in names if not any(map(is_hidden, name.split("/"))))
        return list(self._listed[folder])

    def has(self, name: str) -> bool:
        """Return whether a file exists."""
        return name in self._listed[""] if "" in self._listed else self.store.find(name) is not None

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return self.store.read(name)

    def start(self, name: str, size: int) -> bytes:
        """Return the first bytes of a file."""
        return self.store.read(name, 0, size)

    def open(self, name: str) -> RangeFile:
        """Open a file that libraries read at any place, by ranges."""
        return RangeFile(self.store, name)

    def locate(self, name: str) -> str:
        """Return the address."""
        return self.store.locate(name)

    def stamp(self, name: str) -> str:
        """Return size and version."""
        return str(self.store.find(name))


def open_remote_archive(address: str) -> Archive:
    """Open a .zip or uncompressed .tar archive behind an address; of its files, only those that are read are fetched.

    Raises
    ------
    DatasetError
        When there is none, or it is damaged.
    """
    store = RemoteStore(address)
    if store.find("") is None:
        raise DatasetError(f"the data root {address} does not exist")
    return RemoteZip(store) if address.lower().endswith(".zip") else RemoteTar(store)


class RemoteZip(Zip):
    """A .zip archive behind an address: its directory is read when it is opened, and each file in one request."""

    def __init__(self, store: RemoteStore) -> None:
        self._store = store
        self._ends: dict[int, int] = {}  # where each file ends, by where its header begins
        super().__init__(Path(store.address))

    def start(self, name: str, size: int) -> bytes:
        """Return the first bytes of a file."""
        if name in self.names and size >= MAX_BYTES:
            archive = self._open(self.path)
            begin = archive.getinfo(self.names[name]).header_offset
            cast(RangeFile, archive.fp).load(begin, self._end(archive, begin))
        return super().start(name, size)

    def locate(self, name: str) -> str:
        """Return the address of the archive, and the path inside it."""
        return f"{self._store.address}:{name}"

    def stamp(self, name: str) -> str:
        """Return size and version of the archive."""
        return str(self._store.find(""))

    def _end(self, archive: zipfile.ZipFile, begin: int) -> int:
        if not self._ends:
            begins = sorted({*(info.header_offset for info in archive.infolist()), archive.start_dir})
            self._ends = dict(itertools.pairwise(begins))
        return self._ends.get(begin, begin)

    def _file(self, path: Path) -> IO[bytes]:
        self._store.check_unchanged("")
        file = RangeFile(self._store, "")
        file.load(max(file.size - _DIRECTORY, 0), file.size)
        return cast("IO[bytes]", file)


class RemoteTar(Tar):
    """An uncompressed .tar archive behind an address; its index is made once, from the headers alone, and kept."""

    def __init__(self, store: RemoteStore) -> None:
        self._store = store
        super().__init__(Path(store.address))

    def locate(self, name: str) -> str:
        """Return the address of the archive, and the path inside it."""
        return f"{self._store.address}:{name}"

    def stamp(self, name: str) -> str:
        """Return size and version of the archive."""
        return str(self._store.find(""))

    def _index(self, path: Path) -> dict[str, tuple[int, int]]:
        found = self._store.find("")
        if found is None or not found.version:
            return self._scanned()
        return kept_index(f"{self._store.address}\n{found}", self._scanned)

    def _scanned(self) -> dict[str, tuple[int, int]]:
        with RangeFile(self._store, "", _HEADER) as file:
            return tar_places(cast("IO[bytes]", file), file.size, self._store.address)

    def _bytes(self, offset: int, size: int) -> bytes:
        return self._store.read("", offset, offset + size)
