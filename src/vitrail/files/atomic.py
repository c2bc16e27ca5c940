"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to, and put the result in place when the block ends without error.

    A process that ends in the block, however it ends, leaves the old file or none, never a part of the new one.
    An error in the block removes the temporary file and leaves `path` as it was.

    Parameters
    ----------
    path : path
        Where the file shall be; missing parent folders are made.
    durable : bool
        Put the data on the disk before the name changes, so that the same holds when the machine loses power. This
        takes milliseconds: too much for each of many pictures.

    Yields
    ------
    Path
        A name in the same folder, not yet taken.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")  # short, however long the name is
    try:
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode  # what the user's umask gives; safetensors would make the file private
        yield temporary
        temporary.chmod(mode)
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - the atomic rename this module is about
        if durable:
            _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_files(path: str | Path) -> Iterator[Path]:
    """Give a path of the same name in a temporary folder, for writers of several files, or of a folder of files.

    When the block ends without error every file of the temporary folder is put beside `path`, that of `path` last. An
    error in the block leaves all files as they were.

    Parameters
    ----------
    path : path
        Where the file shall be; missing parent folders are made.

    Yields
    ------
    Path
        The path to write to.

    Raises
    ------
    FileExistsError
        When another file that was written exists already, but `path` does not: it is not an earlier result.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{secrets.token_hex(8)}.part")
    folder.mkdir()
    try:
        yield folder / path.name
        files = sorted(folder.iterdir(), key=lambda file: file.name == path.name)
        for file in files:
            if (path.parent / file.name).exists() and not path.exists():
                raise FileExistsError(
                    errno.EEXIST, "would replace a file of another origin", str(path.parent / file.name)
                )
            for part in filter(Path.is_file, [file, *file.rglob("*")]):
                with part.open("rb+") as content:
                    os.fsync(content.fileno())
        for file in files:
            _put(file, path.parent / file.name)
        _sync_folder(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(written: Path, target: Path) -> None:
    """Give a file or folder its name; a folder cannot be replaced, so the one that is there moves away first."""
    if target.is_dir():
        os.replace(target, written.with_name(f"{written.name}.old"))  # noqa: PTH105 - atomic
    os.replace(written, target)  # noqa: PTH105 - atomic


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # other systems cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
