"""What tells whether the files of an image have changed since they were decoded, and how they are decoded."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from vitrail.datasets.pairs import Pair
from vitrail.datasets.storage import Files


def pair_stamp(files: Files, pair: Pair) -> str:
    """Return names, sizes and times of change of the files of an image and its mask."""
    names = [pair.image, pair.mask, *pair.more_masks, *([pair.second_image] if pair.second_image else [])]
    return "|".join(f"{name}:{files.stamp(name)}" for name in names)


def settings_hash(source: Any, **more: object) -> str:
    """Return a hash of the root of a source in files, of how it decodes them, and of further settings."""
    reader = getattr(source, "read_mask", None)
    settings = {
        "root": source.files.locate(""),
        "pixels": [source.pixels.channels, source.pixels.value_range],
        "reader": [type(reader).__name__, str(sorted(getattr(reader, "labels", {}).items()))],
        "colours": str(sorted(getattr(reader, "colours", {}).items())),
        "drawn": str(getattr(source, "settings", "")),
        **more,
    }
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:24]
