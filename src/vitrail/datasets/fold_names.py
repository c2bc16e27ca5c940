"""Names of files as people read them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def fold_name(name: str) -> str:
    """Return a name as people read it: composed (a Mac writes é as two characters), without upper and lower case."""
    return unicodedata.normalize("NFC", name).casefold()


def fold_names(names: Iterable[str]) -> dict[str, str]:
    """Return names by how people read them; of those that read alike, none."""
    folded: dict[str, str] = {}
    twice = set()
    for name in names:
        if folded.setdefault(fold_name(name), name) != name:
            twice.add(fold_name(name))
    return {fold: name for fold, name in folded.items() if fold not in twice}
