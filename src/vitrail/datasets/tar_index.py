"""Indexes of tar archives, made once and kept on the disk."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import zlib
from collections.abc import Callable
from pathlib import Path

from vitrail.files.atomic import atomic_path
from vitrail.files.download import cache_folder

Places = dict[str, tuple[int, int]]
_LOGGER = logging.getLogger(__name__)


def kept_index(archive: str, make: Callable[[], Places]) -> Places:
    """Return the offset and the size of each file in an archive, as kept by an earlier call, or else as `make` finds.

    Parameters
    ----------
    archive : str
        The archive and its version: a text that changes when the archive does.
    make : callable
        Reads the headers of the archive.
    """
    path = cache_folder() / "indexes" / f"{hashlib.sha256(archive.encode(errors='surrogatepass')).hexdigest()}.json.gz"
    kept = _read(path)
    if kept is not None:
        return kept
    places = make()
    try:
        with atomic_path(path, durable=False) as temporary:
            temporary.write_bytes(gzip.compress(json.dumps(places).encode()))
    except OSError as error:
        _LOGGER.warning("the index of %s cannot be kept: %s", archive, error)
    return places


def _read(path: Path) -> Places | None:
    """Return an index that was kept; None where there is none, or it is damaged."""
    try:
        index = json.loads(gzip.decompress(path.read_bytes()))
        return {name: (int(offset), int(size)) for name, (offset, size) in index.items()}
    except (OSError, EOFError, ValueError, TypeError, AttributeError, zlib.error):
        return None
