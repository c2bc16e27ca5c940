"""Time and memory of steps on the CPU with memory that is kept (`vitrail.runtime.host_memory`) and without.

    python -m benchmarks.host_memory                                        # three methods
    python -m benchmarks.host_memory segformer_mitb0_ade20k --crop 512 --batch 8

Each measurement runs in a process of its own, and the two take turns. A training step is forward, losses, backward and
the optimizer; a prediction is the forward pass of the same batch without gradients. "peak" is the largest resident set.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch

METHODS = ("depthwiseseparablefcn_fastscnn_cityscapes", "pspnet_resnet50os8_cityscapes", "segformer_mitb0_ade20k")
STEPS = 5


def create_steps(recipe_name: str, crop: int, batch: int) -> tuple[Callable[[], None], Callable[[], object]]:
    """Return a training step and a prediction of a recipe's model, with random weights."""
    from vitrail.recipes import load_recipe
    from vitrail.segmentors import build_model

    torch.manual_seed(0)
    model = build_model(load_recipe(recipe_name, ["model.pretrained=false"]).model, 19)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images = torch.randn(batch, 3, crop, crop)
    targets = torch.randint(0, 19, (batch, crop, crop))

    def train() -> None:
        model.train()
        optimizer.zero_grad()
        torch.stack(list(model(images, targets).values())).sum().backward()
        optimizer.step()

    @torch.inference_mode()
    def predict() -> object:
        return model.eval()(images)

    return train, predict


def measure(recipe_name: str, crop: int, batch: int, keep: bool) -> dict[str, float]:
    """Return milliseconds of a training step and of a prediction, and the peak in megabytes."""
    from vitrail.runtime.host_memory import keep_freed_memory

    if keep and not keep_freed_memory():
        raise SystemExit("memory cannot be kept here: no glibc, or the environment has settings for its malloc")
    train, predict = (milliseconds(step) for step in create_steps(recipe_name, crop, batch))
    return {"train": train, "predict": predict, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def milliseconds(step: Callable[[], object]) -> float:
    step()
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=METHODS)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--one", choices=("default", "kept"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.recipes[0], arguments.crop, arguments.batch, arguments.one == "kept")))
        return
    for recipe in arguments.recipes:
        runs: dict[str, list[dict[str, float]]] = {"default": [], "kept": []}
        for _ in range(arguments.turns):
            for kind, results in runs.items():
                command = [sys.executable, "-m", "benchmarks.host_memory", recipe, "--one", kind]
                command += ["--crop", str(arguments.crop), "--batch", str(arguments.batch)]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                results.append(json.loads(output.splitlines()[-1]))
        for figure, unit in (("train", "ms"), ("predict", "ms"), ("peak", "MB")):
            before, after = (statistics.median(run[figure] for run in results) for results in runs.values())
            print(f"{recipe:40} {figure:8} {before:7.0f} {after:7.0f} {unit}  {before / after:.2f}", flush=True)


if __name__ == "__main__":
    main()
