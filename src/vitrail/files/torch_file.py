"""What `torch.save` wrote, read as data: the zip format of today and the format before PyTorch 1.6."""

from __future__ import annotations

import io
import mmap
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import torch

from vitrail.errors import CheckpointError
from vitrail.files.safe_pickle import STORAGE_DTYPES, Foreign, Name, PickleReader, Storage, is_count

# torch.save does not compress; archives that were compressed afterwards shrink by a few per cent, bombs a thousandfold.
MAX_RATIO = 20
ALWAYS_ALLOWED = 64 << 20  # bytes; small archives of zeros may compress well
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
# What zipfile and pickletools raise, besides zipfile's own error, for a file whose bytes were changed; the last one for
# a name with a backslash in it, where warnings are errors.
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError, LookupError),
    DeprecationWarning,
)


def read_pickle(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint that `torch.save` wrote, without running anything in it.

    Parameters
    ----------
    path : path
        The file, whatever its suffix.

    Returns
    -------
    dict
        Tensors (on the CPU) and plain containers; objects of other classes are replaced by inert `Foreign` ones, the
        state of dictionaries' subclasses is dropped.

    Raises
    ------
    CheckpointError
        When the file is missing, is not a checkpoint, is damaged or truncated, expands to a multiple of its size, or
        holds a pickle that would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        content = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
    except _DAMAGE as error:
        raise CheckpointError(f"{path} is damaged: {str(error)[:200]}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if isinstance(content, Foreign):
        raise CheckpointError(
            f"{path} holds a pickled {content.kind}, not weights: save its state_dict() instead, with the project it "
            "comes from"
        )
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dictionary of weights")
    return content


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        _check_entries(archive, path)
        names = set(archive.namelist())
        pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise CheckpointError(f"{path} is a zip archive, but not one that torch.save wrote")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}constants.pkl" in names:
            raise CheckpointError(f"{path} is a TorchScript program, not a checkpoint: save its state_dict() instead")
        order = _read_entry(archive, f"{folder}byteorder") if f"{folder}byteorder" in names else b"little"
        if order != sys.byteorder.encode():
            raise CheckpointError(f"{path} was written on a machine of another byte order, which is not supported")
        stream = io.BytesIO(_read_entry(archive, pickles[0]))
        return PickleReader(stream, str(path), _zip_storage(archive, folder, path)).read()


def _check_entries(archive: zipfile.ZipFile, path: Path) -> None:
    entries = archive.infolist()
    size = path.stat().st_size
    packed = sum(info.compress_size for info in entries)
    unpacked = sum(info.file_size for info in entries)
    if packed > size or unpacked > max(ALWAYS_ALLOWED, MAX_RATIO * size):
        raise CheckpointError(
            f"{path} is refused: it would expand from {size:,} to {unpacked:,} bytes, as no checkpoint does"
        )
    if any(info.flag_bits & 1 for info in entries):
        raise CheckpointError(f"{path} is an encrypted archive")
    # Python expands the other methods whole, whatever size the archive states.
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in entries):
        raise CheckpointError(f"{path} is compressed by a method that torch.save never uses")
    if len({info.filename for info in entries}) < len(entries):
        raise CheckpointError(f"{path} is damaged: its archive has two files of one name")


def _read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a file of the archive, expanded to the size that the archive states and no further."""
    info = archive.getinfo(name)
    with archive.open(info) as file:
        data = file.read(info.file_size)  # without a number, it would expand two gigabytes before it looks at the size
    if len(data) != info.file_size:
        raise zipfile.BadZipFile(f"{name} is shorter than its archive says")
    return data


def _zip_storage(archive: zipfile.ZipFile, folder: str, path: Path) -> Callable[[tuple[Any, ...]], Storage]:
    storages: dict[str, Storage] = {}

    def storage(identity: tuple[Any, ...]) -> Storage:
        _, kind, key, _, count = identity
        _check_identity(key, count)
        if key not in storages:
            dtype = _dtype(kind, path)
            if archive.getinfo(f"{folder}data/{key}").file_size != count * dtype.itemsize:
                raise ValueError(f"storage {key} does not have the {count} values it should have")
            data = bytearray(_read_entry(archive, f"{folder}data/{key}"))
            storages[key] = Storage(torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype))
        return storages[key]

    return storage


def _check_identity(key: Any, count: Any) -> None:
    """Refuse what torch.save never writes, before it is hashed or multiplied: both can be made to end the process."""
    if not isinstance(key, str) or not is_count(count):
        raise ValueError("a storage without a name or a size")


def _read_legacy(path: Path) -> Any:
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        stream = cast("IO[bytes]", memory)  # has all that is used here, and never reads past the end
        _check_legacy(stream, path)
        storages: dict[str, Storage] = {}
        source = str(path)
        content = PickleReader(stream, source, _legacy_storage(storages, path)).read()
        keys = PickleReader(stream, source, _no_storage).read()
        if (
            not isinstance(keys, list)
            or not all(isinstance(key, str) for key in keys)
            or sorted(keys) != sorted(storages)
        ):
            raise CheckpointError(f"{path} is damaged: its tensors and the list of its storages disagree")
        for key in keys:
            _fill(storages[key], key, memory, path)
        return content


def _check_legacy(stream: IO[bytes], path: Path) -> None:
    start = stream.read(4)
    if start == b"PK\x03\x04":
        raise CheckpointError(f"{path} is truncated: it begins as a zip archive, but its end is missing")
    if start[:1] != b"\x80":  # every pickle of protocol 2 or later begins so
        raise CheckpointError(f"{path} is not a checkpoint: neither a .safetensors file nor one that torch.save wrote")
    stream.seek(0)
    magic = PickleReader(stream, str(path), _no_storage).read()
    if magic != LEGACY_MAGIC:
        raise CheckpointError(f"{path} is a pickle, but not one that torch.save wrote")
    protocol = PickleReader(stream, str(path), _no_storage).read()
    machine = PickleReader(stream, str(path), _no_storage).read()
    if protocol != LEGACY_PROTOCOL or not isinstance(machine, dict) or machine.get("little_endian", True) is not True:
        raise CheckpointError(f"{path} was written in a format, or on a machine, that is not supported")


def _no_storage(identity: tuple[Any, ...]) -> Storage:
    raise ValueError("a tensor where none should be")


def _legacy_storage(storages: dict[str, Storage], path: Path) -> Callable[[tuple[Any, ...]], Storage]:
    left = path.stat().st_size

    def storage(identity: tuple[Any, ...]) -> Storage:
        nonlocal left
        _, kind, key, _, count, view = identity
        _check_identity(key, count)
        if key not in storages:
            dtype = _dtype(kind, path)
            left -= count * dtype.itemsize
            if left < 0:
                raise ValueError(f"the file is too short for the {count} values of storage {key}: it is truncated")
            storages[key] = Storage(torch.zeros(count, dtype=dtype))
        if view is None:
            return storages[key]
        _, offset, length = view
        return Storage(storages[key].values[offset : offset + length])

    return storage


def _fill(storage: Storage, key: str, memory: mmap.mmap, path: Path) -> None:
    """Read one storage of the old format: the number of values as a 64-bit integer, then the values."""
    size = storage.values.numel() * storage.values.element_size()
    head = memory.read(8)
    data = memory.read(size)
    if len(head) != 8 or int.from_bytes(head, "little") != storage.values.numel() or len(data) != size:
        raise CheckpointError(f"{path} is damaged: storage {key} is truncated")
    if size:
        storage.values.copy_(torch.frombuffer(bytearray(data), dtype=storage.values.dtype))


def _dtype(kind: Any, path: Path) -> torch.dtype:
    if not isinstance(kind, Name):
        raise ValueError("a storage of no kind")
    if kind.name not in STORAGE_DTYPES:
        raise CheckpointError(f"{path} holds tensors of a kind that is not supported: {kind}")
    return STORAGE_DTYPES[kind.name]
