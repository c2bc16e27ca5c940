"""CamVid as files that every toolbox reads without decoding, and as a folder small enough to carry to a GPU."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from vitrail.datasets import Benchmark, SegmentationDataset
from vitrail.datasets.benchmark import Split
from vitrail.datasets.camvid import CAMVID
from vitrail.datasets.files import benchmark_files
from vitrail.labels import IGNORE

SPLITS = ("train", "val")
IMAGE_SUFFIXES = (".png", ".webp")
QUALITY = 93  # of WebP: about 25 MB for the 468 images
DECODED = Benchmark(
    name="camvid-decoded",
    title="CamVid, decoded",
    classes=CAMVID.classes,
    palette=CAMVID.palette,
    splits={split: Split(f"{split}/{{id}}.bmp", f"{split}annot/{{id}}.png") for split in SPLITS},
)


def compact(root: Path, folder: Path) -> float:
    """Write CamVid with images as WebP and masks as they are; return the size in MB."""
    for split, image, mask in _files(root):
        target = folder / split / f"{image.stem}.webp"
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{split}annot").mkdir(parents=True, exist_ok=True)
        with Image.open(image) as picture:
            picture.convert("RGB").save(target, quality=QUALITY, method=4)
        with Image.open(mask) as picture:
            picture.save(folder / f"{split}annot" / mask.name, optimize=True)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def decode(root: Path, folder: Path, *, limit: int | None = None, shrink: int = 1, processes: int = 1) -> None:
    """Write CamVid as bitmaps, with masks whose ignored pixels are 255.

    Parameters
    ----------
    root : Path
        In the layout of the SegNet tutorial, or as `compact` writes it.
    folder : Path
        Where to.
    limit : int, optional
        So many images of each split only.
    shrink : int
        Every so many pixels only, for a rehearsal.
    processes : int
        How many processes decode.
    """
    for split in SPLITS:
        for name in (split, f"{split}annot"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    files = [pair for split in SPLITS for pair in [pair for pair in _files(root) if pair[0] == split][:limit]]
    task = partial(_decode_pair, folder, shrink)
    if processes == 1:
        for pair in files:
            task(pair)
        return
    with ProcessPoolExecutor(processes) as pool:
        list(pool.map(task, files, chunksize=16))


def opened(folder: Path, split: str) -> SegmentationDataset:
    """Open a split of decoded files, without a transform."""
    return SegmentationDataset(DECODED, benchmark_files(DECODED, folder, split))


def _files(root: Path) -> list[tuple[str, Path, Path]]:
    """Return the split, image and mask of every pair, in a fixed order."""
    found = []
    for split in SPLITS:
        images = sorted(file for file in (root / split).glob("*") if file.suffix in IMAGE_SUFFIXES)
        if not images:
            raise SystemExit(
                f"{root} holds no images in {split}/: give CamVid in the SegNet layout, or what --prepare wrote"
            )
        found += [(split, image, root / f"{split}annot" / f"{image.stem}.png") for image in images]
    return found


def _decode_pair(folder: Path, shrink: int, pair: tuple[str, Path, Path]) -> None:
    split, image, mask = pair
    with Image.open(image) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    with Image.open(mask) as picture:
        labels = np.asarray(picture)
    labels = np.where(labels < len(CAMVID.classes), labels, IGNORE).astype(np.uint8)
    Image.fromarray(pixels[::shrink, ::shrink]).save(folder / split / f"{image.stem}.bmp")
    Image.fromarray(labels[::shrink, ::shrink]).save(folder / f"{split}annot" / mask.name, compress_level=1)
