"""Paths inside a storage, for code that looks for a dataset's files as it does on the disk."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, TypeAlias, cast

from vitrail.datasets.remote_storage import RemoteFolder
from vitrail.datasets.storage import Files
from vitrail.errors import VitrailError
from vitrail.files.regular import read_regular


class FilesTree:
    """The files of a storage, listed once, by folder.

    Parameters
    ----------
    files : Files
        The storage.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self.names = frozenset(files.below(""))
        self.children: dict[str, set[str]] = {"": set()}
        for name in self.names:
            self._add(name)

    def _add(self, name: str) -> None:
        while name:
            folder = name.rpartition("/")[0]
            known = folder in self.children
            self.children.setdefault(folder, set()).add(name)
            if known:
                return
            name = folder


@functools.total_ordering
class FilesPath:
    """A file or folder in a storage, with as much of the interface of `pathlib.Path` as finding files needs.

    Parameters
    ----------
    tree : FilesTree
        The listed storage.
    name : str
        The path in it; "" is its root.
    """

    def __init__(self, tree: FilesTree, name: str = "") -> None:
        self.tree = tree
        self._path = PurePosixPath(name)
        self._key = "" if name in ("", ".") else str(self._path)

    def __truediv__(self, other: str) -> FilesPath:
        return FilesPath(self.tree, str(self._path / other))

    def __str__(self) -> str:
        return self.tree.files.locate(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FilesPath) and self.tree is other.tree and self._key == other._key

    def __lt__(self, other: FilesPath) -> bool:
        return self._path < other._path

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def name(self) -> str:
        """The last part; of the root, that of its location."""
        return self._path.name or PurePosixPath(str(self).rstrip(":/")).name

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return PurePosixPath(self.name).stem

    def is_dir(self) -> bool:
        """Return whether it is a folder."""
        return self._key in self.tree.children

    def is_file(self) -> bool:
        """Return whether it is a file."""
        return self._key in self.tree.names

    def exists(self) -> bool:
        """Return whether it is a file or a folder."""
        return self.is_file() or self.is_dir()

    def iterdir(self) -> Iterator[FilesPath]:
        """Yield the files and folders in a folder."""
        return (FilesPath(self.tree, name) for name in self.tree.children.get(self._key, ()))

    def glob(self, pattern: str) -> Iterator[FilesPath]:
        """Yield the files and folders in a folder whose names match a pattern."""
        return (child for child in self.iterdir() if fnmatch.fnmatchcase(child.name, pattern))

    def resolve(self) -> FilesPath:
        """Return the path itself."""
        return self

    def open(self) -> IO[bytes]:
        """Open a file for reading at any place."""
        files = self.tree.files
        return (
            cast("IO[bytes]", files.open(self._key)) if isinstance(files, RemoteFolder) else BytesIO(self.read_bytes())
        )

    def stamp(self) -> str:
        """Return a text that changes when the file does."""
        return self.tree.files.stamp(self._key)

    def read_bytes(self) -> bytes:
        """Return the content of a file; a DatasetError when it cannot be read."""
        return self.tree.files.read(self._key)


Place: TypeAlias = "Path | FilesPath"


def read_place(path: Place, error: type[VitrailError], limit: int) -> bytes:
    """Return the content of a file on the disk or in a storage, of `limit` bytes at most.

    Raises
    ------
    VitrailError
        Of the type `error` on the disk, a DatasetError in a storage: when it cannot be read or is too large.
    """
    if isinstance(path, Path):
        return read_regular(path, error, limit=limit)
    data = path.read_bytes()
    if len(data) > limit:
        raise error(f"cannot read {path}: it is too large, {len(data):,} bytes")
    return data
