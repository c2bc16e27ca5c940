"""Time of steps on the CPU with linear layers and 1 × 1 convolutions by oneDNN (`vitrail.runtime.cpu_products`).

    python -m benchmarks.cpu_products                                       # four methods, one thread
    python -m benchmarks.cpu_products segformer_mitb0_ade20k --crop 512 --batch 1 --threads 2

A training step is forward, losses, backward and the optimizer; a prediction is the forward pass of the same batch
without gradients. Both ways take turns in one process; medians. The first line says whether vitrail takes oneDNN on
this processor by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time

import torch

from benchmarks.host_memory import create_steps
from vitrail.runtime.cpu_products import OneDnnProducts, mkl_is_slow, processor_maker

RECIPES = (
    "segformer_mitb0_ade20k",
    "mmseg/segmenter_vit-b_mask_8xb1-160k_ade20k-512x512",
    "deeplabv3plus_resnet50os8_cityscapes",
    "depthwiseseparablefcn_fastscnn_cityscapes",
)
TURNS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"{processor_maker() or 'unknown maker'}, {capability}: oneDNN is taken: {mkl_is_slow()}")
    for recipe in arguments.recipes:
        steps = create_steps(recipe, arguments.crop, arguments.batch)
        for name, step in zip(("train", "predict"), steps, strict=True):
            times: dict[str, list[float]] = {"MKL": [], "oneDNN": []}
            for turn in range(TURNS + 1):
                for library, seconds in times.items():
                    with OneDnnProducts() if library == "oneDNN" else contextlib.nullcontext():
                        start = time.perf_counter()
                        step()
                    if turn:  # the first is for warming up
                        seconds.append(time.perf_counter() - start)
            before, after = (1000 * statistics.median(seconds) for seconds in times.values())
            print(f"{recipe:52} {name:8} {before:7.0f} {after:7.0f} ms  {before / after:.2f}", flush=True)


if __name__ == "__main__":
    main()
