"""Opening files that may come from strangers: regular files only, and read whole within a limit of size."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vitrail.errors import VitrailError

MAX_BYTES = 4 << 30  # of a file that is read whole


def read_regular(path: str | Path, error: type[VitrailError], *, what: str = "", limit: int = MAX_BYTES) -> bytes:
    """Return the content of a file.

    Parameters
    ----------
    path : str or Path
        The file. What is no regular file, such as a named pipe that would be waited for, is refused.
    error : type of VitrailError
        The error to raise.
    what : str
        What the file is, for messages, with a space behind it: "the image ".
    limit : int
        The largest size in bytes.

    Raises
    ------
    VitrailError
        When the file is missing, cannot be read, is no regular file or is larger than `limit`.
    """
    try:
        # Not to be stopped by a pipe that nobody writes to; for regular files the flag has no effect.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise error(f"cannot read {what}{path}: it is a pipe or a device, not a file")
            if status.st_size > limit:
                raise error(f"cannot read {what}{path}: it is too large, {status.st_size:,} bytes")
            return file.read()
    except (OSError, ValueError) as problem:  # a null byte in a name is a ValueError
        raise error(f"cannot read {what}{path}: {getattr(problem, 'strerror', None) or problem}") from problem


def check_regular(path: str | Path, error: type[VitrailError]) -> None:
    """Check that a path leads to a file, for libraries that open it themselves and would wait for a named pipe.

    Raises
    ------
    VitrailError
        When there is nothing, or a folder, a pipe or a device.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError) as problem:  # a null byte in a name is a ValueError
        raise error(f"cannot read {path}: {getattr(problem, 'strerror', None) or problem}") from problem
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise error(f"cannot read {path}: it is {what}, not a file")
