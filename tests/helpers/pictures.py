"""A folder of one's own images and masks, drawn at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_pictures(root: Path, count: int) -> Path:
    """Write so many images and masks of 64 × 80 pixels with three classes, and classes.yaml; return the folder."""
    generator = np.random.default_rng(0)
    for index in range(count):
        for folder, high, shape in (("images", 255, (64, 80, 3)), ("masks", 3, (64, 80))):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, high, shape, np.uint8)).save(root / folder / f"{index:02d}.png")
    (root / "classes.yaml").write_text("classes: [a, b, c]\n")
    return root
