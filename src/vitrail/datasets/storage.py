"""Storage of dataset files: a folder, a .zip or a .tar, read in place; safe to share with worker processes."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from vitrail.errors import DatasetError
from vitrail.files.regular import MAX_BYTES, check_regular, read_regular
from vitrail.files.remote import remote_address

# Archives of images hardly shrink; those of masks of one value, a few hundred times.
MAX_RATIO = 100
ALWAYS_ALLOWED = 256 << 20  # bytes of one file

# What Python's readers of archives raise for changed bytes, besides errors of their own.
_DAMAGE = (
    *(OSError, EOFError, RuntimeError, NotImplementedError, ValueError, LookupError, struct.error),
    *(zipfile.BadZipFile, zlib.error),
)


class Files(Protocol):
    """Read-only files by relative path, with forward slashes."""

    def below(self, folder: str) -> list[str]:
        """Return the paths of all files in `folder` and its subfolders, sorted; "" is the root."""

    def has(self, name: str) -> bool:
        """Return whether a file exists."""

    def read(self, name: str) -> bytes:
        """Return the content of a file; a DatasetError when it cannot be read."""

    def start(self, name: str, size: int) -> bytes:
        """Return the first bytes of a file, `size` at most; errors as `read`."""

    def locate(self, name: str) -> str:
        """Return the location of a file for messages."""

    def stamp(self, name: str) -> str:
        """Return a text that changes when the file does."""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is none of the data: a hidden one, or what macOS, Windows and Synology add."""
    return name.startswith(".") or name in ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini")


def leads_back(folder: str, name: str) -> bool:
    """Return whether a name in a folder is a link to the folder or to one around it, which would be walked forever."""
    path = Path(folder, name)
    if not path.is_symlink():
        return False
    target = Path(os.path.realpath(path))
    return any(Path(os.path.realpath(each)).is_relative_to(target) for each in path.parents)


class Folder:
    """A folder on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def below(self, folder: str) -> list[str]:
        """Return the files in `folder` and its subfolders; hidden ones are left out."""
        found: list[str] = []
        for current, subfolders, names in os.walk(self.root / folder, followlinks=True):
            subfolders[:] = [name for name in subfolders if not is_hidden(name) and not leads_back(current, name)]
            here = Path(current).relative_to(self.root).as_posix()
            prefix = "" if here == "." else f"{here}/"
            found.extend(prefix + name for name in names if not is_hidden(name))
        return sorted(found)

    def has(self, name: str) -> bool:
        """Return whether a file exists."""
        return (self.root / name).is_file()

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return read_regular(self.root / name, DatasetError)

    def start(self, name: str, size: int) -> bytes:
        """Return the first bytes of a file."""
        path = self.root / name
        check_regular(path, DatasetError)
        try:
            with path.open("rb") as file:
                return file.read(size)
        except OSError as error:
            raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error

    def locate(self, name: str) -> str:
        """Return the path on disk."""
        return str(self.root / name)

    def stamp(self, name: str) -> str:
        """Return size and time of change."""
        return disk_stamp(self.root / name)


def disk_stamp(path: Path) -> str:
    """Return size and time of change of a file on disk."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return "missing"
    return f"{found.st_size}:{found.st_mtime_ns}"


class Archive(ABC):
    """Base of archives, with the list of their files in memory."""

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        self.path = path
        present = {name.removeprefix("./"): name for name in names}
        self.names = {name: own for name, own in present.items() if not any(map(is_hidden, name.split("/")))}

    def below(self, folder: str) -> list[str]:
        """Return the files in `folder` and its subfolders."""
        prefix = f"{folder.rstrip('/')}/" if folder else ""
        return sorted(name for name in self.names if name.startswith(prefix))

    def has(self, name: str) -> bool:
        """Return whether a file exists."""
        return name in self.names

    def locate(self, name: str) -> str:
        """Return archive and path inside it."""
        return f"{self.path}:{name}"

    def stamp(self, name: str) -> str:
        """Return size and time of change of the archive."""
        return disk_stamp(self.path)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return self.start(name, MAX_BYTES)

    @abstractmethod
    def start(self, name: str, size: int) -> bytes:
        """Return the first bytes of a file."""

    def _missing(self, name: str) -> DatasetError:
        return DatasetError(f"cannot read {self.locate(name)}: no such file in the archive")


class Zip(Archive):
    """A .zip archive; each process opens it separately."""

    def __init__(self, path: Path) -> None:
        self._zip: zipfile.ZipFile | None = None
        self._process = 0
        super().__init__(path, (name for name in self._open(path).namelist() if name and not name.endswith("/")))

    def start(self, name: str, size: int) -> bytes:
        """Return the first bytes of a file."""
        if name not in self.names:
            raise self._missing(name)
        try:
            return self._expand(self._open(self.path), self.names[name], size)
        except _DAMAGE as error:
            raise DatasetError(f"cannot read {self.locate(name)}: {error}; is the download complete?") from error

    def _expand(self, archive: zipfile.ZipFile, name: str, size: int) -> bytes:
        """Return the first bytes of a file, expanded to the size that the archive states and no further."""
        info = archive.getinfo(name)
        if info.file_size > max(ALWAYS_ALLOWED, MAX_RATIO * info.compress_size) or info.file_size > MAX_BYTES:
            raise DatasetError(
                f"{self.locate(name)} is refused: it would expand from {info.compress_size:,} to {info.file_size:,} "
                "bytes, as no image does"
            )
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # Python expands others whole
            raise DatasetError(
                f"{self.locate(name)} is compressed by a method that is not read in place: unpack the archive"
            )
        with archive.open(info) as file:
            return file.read(min(info.file_size, size))

    def _open(self, path: Path) -> zipfile.ZipFile:
        # A handle inherited through fork shares its file position with the parent, so reads would get mixed up.
        if self._zip is None or self._process != os.getpid():
            try:
                self._zip = zipfile.ZipFile(self._file(path))
            except _DAMAGE as error:
                where = remote_address(path) or path
                raise DatasetError(f"cannot open {where}: {error}; is the download complete?") from error
            self._process = os.getpid()
        return self._zip

    def _file(self, path: Path) -> Path | IO[bytes]:
        """Return what `zipfile` opens."""
        check_regular(path, DatasetError)
        return path

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_zip": None}


class _WithinItsSize(io.FileIO):
    """A file that never makes room for more bytes than it has, whatever number of them is asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._size = path.stat().st_size

    def read(self, size: int | None = -1) -> bytes:
        left = max(self._size - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left)) or b""


class Tar(Archive):
    """An uncompressed .tar archive, whose files are read at their offsets."""

    def __init__(self, path: Path) -> None:
        self.places = self._index(path)
        super().__init__(path, self.places)

    def start(self, name: str, size: int) -> bytes:
        """Return the first bytes of a file."""
        if name not in self.names:
            raise self._missing(name)
        offset, length = self.places[self.names[name]]
        size = min(size, length)
        try:
            data = self._bytes(offset, size)
        except OSError as error:
            raise DatasetError(f"cannot read {self.locate(name)}: {error.strerror or error}") from error
        if len(data) < size:
            raise DatasetError(f"cannot read {self.locate(name)}: the archive ends early; is the download complete?")
        return data

    def _index(self, path: Path) -> dict[str, tuple[int, int]]:
        """Return the offset and the size of each file."""
        check_regular(path, DatasetError)
        try:
            with _WithinItsSize(path) as file:
                return tar_places(file, path.stat().st_size, str(path))
        except OSError as error:
            raise DatasetError(f"cannot open {path}: {error}") from error

    def _bytes(self, offset: int, size: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(size)


def tar_places(file: IO[bytes], end: int, where: str) -> dict[str, tuple[int, int]]:
    """Return the offset and the size of each file in an uncompressed tar archive of `end` bytes.

    Raises
    ------
    DatasetError
        When it is none, is compressed, or ends early.
    """
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            members = [member for member in archive if member.isfile()]
    except (*_DAMAGE, tarfile.TarError) as error:
        raise DatasetError(
            f"cannot open {where}: {error}. Only uncompressed .tar archives can be read in place: "
            "unpack any other, and check that the download is complete"
        ) from error
    if any(member.issparse() or member.offset_data + member.size > end for member in members):
        raise DatasetError(f"cannot open {where}: the archive ends early, or has files with holes")
    return {member.name: (member.offset_data, member.size) for member in members}


class Subfolder:
    """A folder of another storage, with paths relative to that folder."""

    def __init__(self, files: Files, folder: str) -> None:
        self.files = files
        self.prefix = f"{folder}/" if folder else ""

    def below(self, folder: str) -> list[str]:
        """Return the files in `folder` and its subfolders."""
        return [name.removeprefix(self.prefix) for name in self.files.below(f"{self.prefix}{folder}".rstrip("/"))]

    def has(self, name: str) -> bool:
        """Return whether a file exists."""
        return self.files.has(self.prefix + name)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return self.files.read(self.prefix + name)

    def start(self, name: str, size: int) -> bytes:
        """Return the first bytes of a file."""
        return self.files.start(self.prefix + name, size)

    def locate(self, name: str) -> str:
        """Return the location of a file."""
        return self.files.locate(self.prefix + name)

    def stamp(self, name: str) -> str:
        """Return a text that changes when the file does."""
        return self.files.stamp(self.prefix + name)


class UnionFiles:
    """Several storages as one, such as the two archives of Cityscapes; the first that has a file provides it."""

    def __init__(self, parts: Sequence[Files]) -> None:
        self.parts = parts

    def below(self, folder: str) -> list[str]:
        """Return the files in `folder` and its subfolders."""
        return sorted({name for part in self.parts for name in part.below(folder)})

    def has(self, name: str) -> bool:
        """Return whether a file exists."""
        return any(part.has(name) for part in self.parts)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return self._part(name).read(name)

    def start(self, name: str, size: int) -> bytes:
        """Return the first bytes of a file."""
        return self._part(name).start(name, size)

    def locate(self, name: str) -> str:
        """Return the location of a file; of a missing one, in the first part."""
        return self._part(name).locate(name)

    def stamp(self, name: str) -> str:
        """Return a text that changes when the file does."""
        return self._part(name).stamp(name)

    def _part(self, name: str) -> Files:
        return next((part for part in self.parts if part.has(name)), self.parts[0])
