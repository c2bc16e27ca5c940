"""Processor time of a training sample from files, and from `data.cache`.

    python -m benchmarks.sample_cache cgnet_camvid --data-root CAMVID
    vitrail dataset scenes --write scenes --limit 12 --set "size=[1024, 2048]"
    python -m benchmarks.sample_cache pspnet_resnet50os8_cityscapes data.dataset=folder --data-root scenes

One thread; the least of several rounds over the same images, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import torch

from vitrail.datasets import SampleKey
from vitrail.recipes import load_recipe
from vitrail.training.loader import training_dataset


def milliseconds(recipe: str, overrides: list[str], *, images: int, rounds: int) -> float:
    """Return the time for a sample; what is kept of the images is kept before."""
    dataset = training_dataset(load_recipe(recipe, overrides).data)
    keys = [SampleKey(index % len(dataset), index) for index in range(images)]
    taken = []
    for _ in range(rounds + 1):
        start = time.process_time()
        for key in keys:
            dataset[key]
        taken.append(time.process_time() - start)
    return 1000 * min(taken[1:]) / images


def main() -> None:
    """Measure a recipe and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--data-root", required=True, metavar="DIR")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    overrides = [*options.overrides, f"data.root={options.data_root}"]
    with tempfile.TemporaryDirectory() as folder:
        files, kept = (
            milliseconds(options.recipe, changes, images=options.images, rounds=options.rounds)
            for changes in (overrides, [*overrides, f"data.cache={folder}"])
        )
    print(f"{options.recipe}: {files:.1f} ms from files, {kept:.1f} ms from the cache: {files / kept:.1f} times less")


if __name__ == "__main__":
    main()
