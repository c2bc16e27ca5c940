"""Datasets of Hugging Face on disk: parquet files with a column of images and a column of masks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.class_file import find_class_file
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.files import PairedFiles
from vitrail.datasets.files_path import FilesPath, FilesTree, Place
from vitrail.datasets.formats.drawn import wanted_root
from vitrail.datasets.own_masks import describe, describe_masks
from vitrail.datasets.pairs import Pair
from vitrail.datasets.remote_storage import RemoteFolder
from vitrail.datasets.splits import complete_splits, pick_split, split_name
from vitrail.datasets.storage import ALWAYS_ALLOWED, MAX_RATIO, disk_stamp
from vitrail.errors import DatasetError
from vitrail.files.foreign import foreign_data
from vitrail.files.regular import check_regular
from vitrail.files.remote import remote_address

IMAGE_COLUMNS = ("image", "pixel_values", "img", "images")
MASK_COLUMNS = (
    "label",
    "mask",
    "annotation",
    "segmentation_mask",
    "labels",
    "masks",
    "semantic_segmentation",
    "segmentation",
)


class ParquetFiles:
    """The images in the columns of parquet files as files, "FILE/ROW/COLUMN".

    Parameters
    ----------
    root : Path or FilesPath
        The folder of the parquet files.
    """

    def __init__(self, root: Place) -> None:
        self.root = root
        self._open: tuple[str, int, Any] | None = None

    def below(self, folder: str) -> list[str]:
        """Return the parquet files themselves; cells are found by their pairs."""
        return [name for name in _names(self.root) if name.startswith(f"{folder}/" if folder else "")]

    def has(self, name: str) -> bool:
        """Return whether the parquet file of a cell exists."""
        return (self.root / name.rsplit("/", 2)[0]).is_file()

    def read(self, name: str) -> bytes:
        """Return the content of the image in a cell."""
        file, row, column = name.rsplit("/", 2)
        cell = self._rows(file, int(row), column)
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(content, bytes):
            raise DatasetError(f"{self.locate(name)} holds no image")
        return content

    def start(self, name: str, size: int) -> bytes:
        """Return the first bytes of the image in a cell."""
        return self.read(name)[:size]

    def locate(self, name: str) -> str:
        """Return the file, and the cell in it."""
        parts = name.rsplit("/", 2)
        return f"{self.root / parts[0]}:{'/'.join(parts[1:])}"

    def stamp(self, name: str) -> str:
        """Return size and time of change of the parquet file."""
        path = self.root / name.rsplit("/", 2)[0]
        return disk_stamp(path) if isinstance(path, Path) else path.stamp()

    def _rows(self, file: str, row: int, column: str) -> Any:
        """Return a cell; the row group that it lies in is kept for the next one."""
        table = open_parquet(self.root / file)
        first = 0
        for group in range(table.num_row_groups):
            rows = table.metadata.row_group(group).num_rows
            if row < first + rows:
                key = (f"{file}/{column}", group)
                if self._open is None or self._open[:2] != key:
                    with _reading(self.root / file):
                        self._open = (*key, table.read_row_group(group, columns=[column]).column(column))
                with _reading(self.root / file):
                    return self._open[2][row - first].as_py()
            first += rows
        raise DatasetError(f"{self.root / file} has no row {row}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}


@register_dataset("parquet", remote=True)
def parquet(
    root: Path | None,
    split: str,
    *,
    images: str = "",
    masks: str = "",
    coloured: bool | None = None,
    val_fraction: float | None = None,
    split_seed: int = 0,
) -> tuple[Benchmark, PairedFiles]:
    """A dataset of Hugging Face in files: parquet tables of images and masks, read in place, here or by ranges.

    Parameters
    ----------
    root : Path
        The folder, such as a clone of the dataset's repository, or its address; classes.yaml or classes.txt in it
        names the classes.
    split : str
        "train", "val", "test" or "all": how the names of the files begin.
    images, masks : str
        The columns; empty takes the usual names, such as "image" and "label".
    coloured, val_fraction, split_seed
        As in the dataset "folder".

    Raises
    ------
    DatasetError
        When there are no such files or columns.
    """
    address = None if root is None else remote_address(root)
    place: Place = FilesPath(FilesTree(RemoteFolder(address))) if address else wanted_root(root, "parquet")
    splits: dict[str, list[Pair]] = {}
    for name in _names(place):
        split_of_file = split_name(name.rpartition("/")[2].partition("-")[0].partition(".")[0])
        splits.setdefault(split_of_file, []).extend(_pairs(place, name, images, masks))
    if not splits:
        raise DatasetError(f"{place} holds no parquet files")
    splits = complete_splits(splits, val_fraction, split_seed)
    pairs = pick_split(place, splits, split)
    files = ParquetFiles(place)
    classes, reader = describe_masks(files, [pair.mask for pair in splits["all"]], find_class_file(place), coloured)
    return describe("parquet", place, classes), PairedFiles(files, pairs, reader)


def recognise(root: Path) -> str | None:
    """Return what was found, or None when there are no parquet files."""
    files = _names(root)
    return f"{len(files)} parquet files of a Hugging Face dataset" if files else None


def import_parquet() -> Any:
    """Return pyarrow's module for parquet files; a DatasetError says how to install it."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise DatasetError("parquet files need pyarrow: pip install 'vitrail[data]'") from error
    return pyarrow.parquet


def open_parquet(path: Place) -> Any:
    """Open a parquet file, here or by ranges.

    Raises
    ------
    DatasetError
        When it is damaged or none, has more rows than its bytes can hold images, or a row group that unpacks to a
        hundred times the size of the file.
    """
    library = import_parquet()
    if isinstance(path, Path):
        check_regular(path, DatasetError)
    with _reading(path):
        file = path if isinstance(path, Path) else path.open()
        opened = library.ParquetFile(file)
        size = file.stat().st_size if isinstance(file, Path) else file.seek(0, os.SEEK_END)
        # pyarrow ends the process where the sizes of a damaged file's columns are asked for; those of groups are safe
        unpacked = [opened.metadata.row_group(index).total_byte_size for index in range(opened.num_row_groups)]
    if opened.metadata.num_rows > size:
        raise DatasetError(f"{path} is refused: it has {opened.metadata.num_rows:,} rows in {size:,} bytes")
    if max(unpacked, default=0) > max(ALWAYS_ALLOWED, MAX_RATIO * size):
        raise DatasetError(
            f"{path} is refused: a row group of it would expand to {max(unpacked):,} bytes, and the file has {size:,}; "
            "images do not expand so"
        )
    return opened


def _reading(path: Place) -> AbstractContextManager[None]:
    """Return the context in which a parquet file is read: what fails there is the file's fault."""
    return foreign_data(DatasetError, lambda error: f"cannot read {path} ({error}); is the download complete?")


def _names(root: Place) -> list[str]:
    """Return the parquet files in a folder and in the folders in it, by their paths below it."""
    if isinstance(root, Path):
        found = [path.relative_to(root).as_posix() for path in (*root.glob("*.parquet"), *root.glob("*/*.parquet"))]
        return sorted(found)
    return sorted(name for name in root.tree.names if name.endswith(".parquet") and name.count("/") < 2)


def _pairs(root: Place, name: str, images: str, masks: str) -> list[Pair]:
    path = root / name
    opened = open_parquet(path)
    with _reading(path):
        columns = opened.schema_arrow.names
    image = find_column(str(path), columns, images, IMAGE_COLUMNS, "images")
    mask = find_column(str(path), columns, masks, MASK_COLUMNS, "masks")
    rows = range(opened.metadata.num_rows)
    return [Pair(f"{path.stem}/{row:06d}", f"{name}/{row}/{image}", f"{name}/{row}/{mask}") for row in rows]


def find_column(where: str, columns: Sequence[str], given: str, usual: Sequence[str], what: str) -> str:
    """Return the column of images or masks: the one given, or the first that has a usual name.

    Raises
    ------
    DatasetError
        When there is none; `where` names the table.
    """
    found = [name for name in ([given] if given else usual) if name in columns]
    if not found:
        raise DatasetError(
            f"{where} has no column of {what}: it has {', '.join(columns)}. Name it with data.options.{what}"
        )
    return found[0]
