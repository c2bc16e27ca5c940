"""What predicting an image costs on one core, by what is written, and what that makes for many images.

    python -m benchmarks.many_images fastscnn_camvid CAMVID/val --images 60 --core-hour 0.05

Processor time, so that other work on the machine counts little; bytes of the images as they are, and of the results.
Prices are arguments: those of a core for an hour, and of requests to an object storage.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import torch

from vitrail.inference import Predictor, predict_files
from vitrail.runtime.host_memory import keep_freed_memory

KINDS = ("rle", "index", "colour", "overlay")


def cost(predictor: Predictor, images: list[Path], kind: str) -> tuple[float, float]:
    """Return the seconds and the bytes of the result of an image."""
    folder = Path(tempfile.mkdtemp())
    try:
        predict_files(predictor, images[:4], folder / "first", kinds=[kind])
        start = time.process_time()
        predict_files(predictor, images, folder / "all", kinds=[kind])
        seconds = time.process_time() - start
        written = sum(path.stat().st_size for path in (folder / "all").rglob("*") if path.is_file())
    finally:
        shutil.rmtree(folder)
    return seconds / len(images), written / len(images)


def main() -> None:
    """Measure a model and print a line for each kind of result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--core-hour", type=float, default=0.05, help="dollars")
    parser.add_argument("--get", type=float, default=0.0004, help="dollars for 1000 readings")
    parser.add_argument("--put", type=float, default=0.005, help="dollars for 1000 writings")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the command does
    predictor = Predictor(options.model, device="cpu")
    images = sorted(path for path in options.folder.iterdir() if path.suffix in (".png", ".jpg"))[: options.images]
    read = sum(path.stat().st_size for path in images) / len(images)
    print(f"{len(images)} images of {read / 1000:.0f} kB")
    for kind in KINDS:
        seconds, written = cost(predictor, images, kind)
        puts = 1 / 10_000 if kind == "rle" else 1
        requests = 1000 * (options.get + puts * options.put)
        hours = 1e6 * seconds / 3600
        print(
            f"{kind}: {1000 * seconds:.1f} ms, {written / 1000:.1f} kB; a million: {hours:.1f} core hours "
            f"(${hours * options.core_hour:.2f}), ${requests:.2f} for requests, {written / 1000:.1f} GB written"
        )


if __name__ == "__main__":
    main()
