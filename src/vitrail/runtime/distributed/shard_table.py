"""The table of contents of a checkpoint in parts, which is a pickle, read as data.

Python's unpickler in C makes room for as many objects as a file claims to have and hashes whatever stands where a key
should be, which can take all memory or for ever. Here it is the one in Python, which knows the few instructions and
types that `torch.distributed.checkpoint` writes.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch.distributed.checkpoint import metadata as descriptions
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorStorageMetadata

from vitrail.errors import CheckpointError
from vitrail.files.regular import check_regular, read_regular

TABLE = ".metadata"
_DESCRIPTIONS = (
    *("Metadata", "MetadataIndex", "TensorStorageMetadata", "TensorProperties", "ChunkStorageMetadata", "StorageMeta"),
    "_MEM_FORMAT_ENCODING",
)
_ALLOWED = {
    *((descriptions.__name__, name) for name in _DESCRIPTIONS),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    *((module, name) for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "WindowsPath")),
}
_STRANGE = ("DUP", "INST", "OBJ", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "FROZENSET", "ADDITEMS", "EMPTY_SET")
_STRANGE_BYTES = ("BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "DICT", "NEWOBJ_EX")


def read_table(folder: Path) -> Metadata:
    """Return the table of contents of the checkpoint in a folder.

    Raises
    ------
    CheckpointError
        When the file is missing or is no file.
    ValueError, pickle.UnpicklingError, and others of Python's
        When it holds anything but descriptions of tensors that are whole in the files of the folder.
    """
    table = _Unpickler(io.BytesIO(read_regular(folder / TABLE, CheckpointError))).load()
    if not isinstance(table, Metadata):
        raise ValueError(f"{TABLE} holds a {type(table).__name__}")
    files = _check_places(folder, table.storage_data)
    present = sum((folder / name).stat().st_size for name in files)
    needed = sum(_check_tensor(name, entry) for name, entry in table.state_dict_metadata.items())
    if needed > present:
        raise ValueError(f"its tensors have {needed:,} bytes, its files {present:,}")
    return table


def _check_places(folder: Path, places: Mapping[Any, Any]) -> set[str]:
    """Return the names of the files of a table's tensors, which are regular ones in the folder itself."""
    names = {place.relative_path for place in places.values()}
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise ValueError(f"{TABLE} names a file outside of the folder: {name}")
        check_regular(folder / name, CheckpointError)
    return names


def _check_tensor(name: str, entry: Any) -> int:
    """Return the bytes of a tensor, of which every part is in some file."""
    if not isinstance(entry, TensorStorageMetadata) or not isinstance(entry.properties.dtype, torch.dtype):
        raise ValueError(f"{name} is no tensor")
    sizes = [entry.size, *(chunk.sizes for chunk in entry.chunks)]
    if any(not isinstance(size, torch.Size) or any(side < 0 for side in size) for size in sizes):
        raise ValueError(f"{name} has a shape that no tensor has")
    values, *parts = map(math.prod, sizes)
    if sum(parts) != values:
        raise ValueError(f"{name} has {values:,} values, and its parts {sum(parts):,}")
    return values * entry.properties.dtype.itemsize


class _Unpickler(cast("type[Any]", pickle._Unpickler)):  # type: ignore[misc]
    """Python's own unpickler, which builds descriptions of tensors and refuses what no table of contents has."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        """Return a type of PyTorch's descriptions, or the name of a type of values."""
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if not is_dtype and (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{TABLE} names {module}.{name}, which is no description of a tensor")
        return super().find_class(module, name)

    def load_reduce(self) -> None:
        """Call a type with numbers and texts."""
        _check_arguments(self.stack[-1])
        super().load_reduce()

    def load_newobj(self) -> None:
        """Make an object of a type with numbers and texts."""
        _check_arguments(self.stack[-1])
        super().load_newobj()

    def load_build(self) -> None:
        """Give a description its parts; nothing else is changed."""
        if type(self.stack[-2]).__name__ not in (*_DESCRIPTIONS, "_StorageInfo"):
            raise pickle.UnpicklingError(f"{TABLE} changes a {type(self.stack[-2]).__name__}")
        super().load_build()

    def load_setitem(self) -> None:
        """Put a value into a dictionary."""
        _check_key(self.stack[-2])
        super().load_setitem()

    def load_setitems(self) -> None:
        """Put values into a dictionary."""
        for key in self.stack[::2]:
            _check_key(key)
        super().load_setitems()


def _refuse(name: str) -> Callable[[Any], None]:
    def refuse(_: Any) -> None:
        raise pickle.UnpicklingError(f"{TABLE} has the instruction {name}, which no table of contents needs")

    return refuse


_Unpickler.dispatch |= {
    **{getattr(pickle, name)[0]: _refuse(name) for name in (*_STRANGE, *_STRANGE_BYTES)},
    pickle.REDUCE[0]: _Unpickler.load_reduce,
    pickle.NEWOBJ[0]: _Unpickler.load_newobj,
    pickle.BUILD[0]: _Unpickler.load_build,
    pickle.SETITEM[0]: _Unpickler.load_setitem,
    pickle.SETITEMS[0]: _Unpickler.load_setitems,
}


def _check_arguments(arguments: Any) -> None:
    """Refuse arguments but numbers, texts, and one tuple or list of numbers: anything else could be nested deep."""
    flat = [item for each in arguments for item in (each if isinstance(each, tuple | list) else [each])]
    if not all(isinstance(item, int | str) for item in flat):
        raise pickle.UnpicklingError(f"{TABLE} calls a type with what it does not take")


def _check_key(key: Any) -> None:
    """Refuse keys but texts, numbers and places of tensors, before they are hashed."""
    if isinstance(key, str | int):
        return
    if type(key) is MetadataIndex:
        kinds = ((key.fqn, str), (key.offset, torch.Size | None), (key.index, int | None))
        if all(isinstance(value, kind) for value, kind in kinds):
            return
    raise pickle.UnpicklingError(f"{TABLE} has a key that is neither a name nor the place of a tensor")
