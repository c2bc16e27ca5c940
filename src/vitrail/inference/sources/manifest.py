"""Manifests: lists of image files, one per line or in a column of a table, as frame sources."""

# Strings rather than paths: there may be millions of them.
# ruff: noqa: PTH100, PTH118, PTH122

from __future__ import annotations

import csv
import functools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from vitrail.datasets.formats.parquet import import_parquet
from vitrail.datasets.remote_storage import RemoteFolder
from vitrail.errors import DatasetError, PredictionError
from vitrail.files.home import expand_home
from vitrail.files.remote import remote_address
from vitrail.inference.sources.frame import Frame, register_frame_source
from vitrail.inference.sources.images import file_frame
from vitrail.inference.sources.remote_images import remote_frame

COLUMNS = ("path", "file", "image", "file_name", "filename", "image_path")


@register_frame_source("manifest", suffixes=(".txt", ".lst", ".csv", ".tsv", ".parquet"))
class Manifest:
    """A list of image files: a text with one path per line, or a table (.csv, .tsv, .parquet) with a column of them.

    Paths are relative to the folder of the list, or addresses such as s3://bucket/photo.jpg. A file that is missing is
    one that cannot be read when its turn comes, since looking for millions of them in advance takes long. The name of
    an image is its path without the suffix; with it, where two differ in nothing else. A path that is listed twice is
    segmented once.

    Parameters
    ----------
    where : str
        The list; "manifest:list.csv#photo" takes the column "photo" of a table, which is else the first that is called
        "path", "file", "image", "file_name", "filename" or "image_path".

    Raises
    ------
    PredictionError
        When there is no such list, or it is empty or has no such column.
    """

    def __init__(self, where: str) -> None:
        name, column = _split(where)
        self.path = expand_home(name)
        try:
            listed = _read(self.path, column)
        except (OSError, ValueError, csv.Error) as error:
            raise PredictionError(f"cannot read the list {self.path}: {error}") from error
        except DatasetError as error:
            raise PredictionError(str(error)) from error
        root = os.path.abspath(self.path.parent)
        self.files = tuple(dict.fromkeys(_absolute(root, line) for line in listed if line))
        if not self.files:
            raise PredictionError(f"the list {self.path} is empty: it should name an image on every line")
        self.num_frames: int | None = len(self.files)
        self._folders: dict[str, RemoteFolder] = {}

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each image."""
        return tuple(_distinct([_below(file, os.path.abspath(self.path.parent)) for file in self.files]))

    def __iter__(self) -> Iterator[Frame]:
        for file, name in zip(self.files, self.names, strict=True):
            if file.startswith("/") or "://" not in file:
                yield file_frame(file, name)
                continue
            folder, _, path = file.rpartition("/")
            if folder not in self._folders:
                self._folders[folder] = RemoteFolder(folder)
            yield remote_frame(self._folders[folder], path, name)


def _split(where: str) -> tuple[str, str]:
    """Return the list and the column that a name asks for."""
    if expand_home(where).exists():
        return where, ""
    name, _, column = where.partition("#")
    return name, column


def _read(path: Path, column: str) -> list[str]:
    """Return the paths in a list as they stand."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        parquet = import_parquet().ParquetFile(path)
        chosen = _column(path, parquet.schema_arrow.names, column)
        return [str(value) for value in parquet.read([chosen]).column(chosen).to_pylist() if value is not None]
    if suffix in (".csv", ".tsv"):
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, delimiter="," if suffix == ".csv" else "\t")
            chosen = _column(path, list(table.fieldnames or ()), column)
            return [row[chosen] or "" for row in table]
    if column:
        raise PredictionError(f"{path} is a text, which has no column {column!r}")
    return [line.rstrip("\r") for line in path.read_text(encoding="utf-8-sig").split("\n")]


def _column(path: Path, known: Sequence[str], wanted: str) -> str:
    found = [name for name in ([wanted] if wanted else COLUMNS) if name in known]
    if not found:
        raise PredictionError(
            f"{path} has no column {wanted or 'of paths'}: it has {', '.join(known)}. Name one of them, such as "
            f"manifest:{path}#{next(iter(known), 'path')}"
        )
    return found[0]


def _absolute(folder: str, line: str) -> str:
    """Return an address as it is, and a path as an absolute one."""
    return remote_address(line) or os.path.normpath(os.path.join(folder, line))


def _below(file: str, folder: str) -> str:
    """Return the path of a file below the folder of the list, or else below the root of the file system."""
    if remote_address(file):
        return file.partition("://")[2]
    inside = file.startswith(f"{folder}{os.sep}")
    below = file[len(folder) + 1 :] if inside else os.path.splitdrive(file)[1].lstrip(os.sep)
    return below.replace(os.sep, "/")


def _distinct(paths: Sequence[str]) -> Iterator[str]:
    """Yield the name of each path: without its suffix where that is enough."""
    short = [os.path.splitext(path)[0] for path in paths]
    times = Counter(short)
    return (path if times[name] > 1 else name for path, name in zip(paths, short, strict=True))
