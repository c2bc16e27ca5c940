"""Small files on disk for the tests of this folder."""

import numpy as np
from PIL import Image


def picture(height=24, width=32, seed=0):
    """A smooth colour picture, so that JPEG keeps it nearly as it is."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(3 * x + seed), np.cos(4 * y), np.sin(2 * x + 3 * y)]
    return Image.fromarray((np.stack(waves, -1) * 100 + 128).astype(np.uint8))


def mask(height=24, width=32, classes=3, seed=0):
    return np.random.default_rng(seed).integers(0, classes, (height, width), dtype=np.uint8)


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = content if isinstance(content, Image.Image) else Image.fromarray(content)
    image.save(path)
    return path


def make_folder(root, names=("a", "b", "c", "d", "e"), classes=3, split=""):
    """Images and masks in the layout of the dataset "folder"."""
    for seed, name in enumerate(names):
        save(root / "images" / split / f"{name}.jpg", picture(seed=seed))
        save(root / "masks" / split / f"{name}.png", mask(classes=classes, seed=seed))
    return root
