"""Bytes that were read from afar, kept on the disk within a limit and shared by all processes of a machine."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from vitrail.files.atomic import atomic_path
from vitrail.files.environment import env_number

USUAL_LIMIT = 20_000_000_000  # bytes
_DIGEST = 8  # bytes of the hash behind the content
_log = logging.getLogger("vitrail.files")


def cache_limit() -> int:
    """Return the largest size of the cache in bytes: the environment variable VITRAIL_CACHE_BYTES, or 20 GB; 0 is none.

    Raises
    ------
    VitrailError
        When the variable is no number.
    """
    return env_number("VITRAIL_CACHE_BYTES", USUAL_LIMIT)


class ByteCache:
    """Content by key, in files of one folder; what was not used for longest is removed first.

    Processes share it without waiting for each other: a file appears whole, and carries a hash of its content, so that
    one that the disk has damaged counts as missing. Each process adds up to a sixty-fourth of the limit before it looks
    whether the folder has grown too large.

    Parameters
    ----------
    folder : Path
        Where the files are.
    limit : int
        Largest size of all files together in bytes; 0 keeps nothing.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._added = limit  # the first addition looks how much is there

    def get(self, key: str, fetch: Callable[[], bytes]) -> bytes:
        """Return the content of a key; `fetch` brings it when it is not there."""
        if not self.limit:
            return fetch()
        path = self._path(key)
        found = self._read(path)
        if found is None:
            found = fetch()
            if len(found) <= self.limit // 4:  # or a few would drive out all others
                self._write(path, found)
        return found

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / name[2:]

    def _read(self, path: Path) -> bytes | None:
        try:
            data = path.read_bytes()
            os.utime(path)  # it was used now
        except OSError:
            return None
        content = data[:-_DIGEST]
        return content if data[-_DIGEST:] == _hash(content) else None

    def _write(self, path: Path, content: bytes) -> None:
        try:
            with atomic_path(path, durable=False) as temporary, temporary.open("wb") as file:
                file.write(content)
                file.write(_hash(content))
            self._added += len(content) + _DIGEST
            if self._added >= self.limit // 64:
                self._added = 0
                self._shrink()
        except OSError as error:  # a full disk: reading goes on without
            _log.warning("cannot keep what is read from afar in %s: %s", self.folder, error)
            self.limit = 0

    def _shrink(self) -> None:
        """Remove what was not used for longest until a tenth of the room is free."""
        with contextlib.suppress(Timeout), FileLock(self.folder / ".lock", timeout=0):  # another process is at it
            files = [(found.stat(), found) for found in self.folder.glob("*/*") if found.is_file()]
            size = sum(status.st_size for status, _ in files)
            if size <= self.limit * 15 // 16:
                return
            for status, path in sorted(files, key=lambda entry: entry[0].st_mtime_ns):
                path.unlink(missing_ok=True)
                size -= status.st_size
                if size <= self.limit * 9 // 10:
                    return


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()
