"""Memory and time of a training step with activation checkpointing and frozen stages, beside the plain step.

    python benchmarks/train_memory.py --recipe pspnet_resnet50os8_cityscapes --crop 256 --batch 2 [--device cuda]

Each variant runs in a process of its own. "activations" is what the forward pass keeps for the backward pass; "peak" is
the most memory that the process held beyond what it held before the first step (on CUDA the allocator's figure,
elsewhere the resident set's). Ratios are to the plain step; below 1 is less.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
from torch import Tensor

VARIANTS = {
    "plain": [],
    "activation_checkpointing": ["train.activation_checkpointing=true"],
    "freeze_stages=2": ["train.freeze_stages=2"],
    "both": ["train.activation_checkpointing=true", "train.freeze_stages=2"],
}


def measure(recipe_name: str, overrides: list[str], crop: int, batch: int, device: torch.device) -> dict[str, float]:
    """Make three training steps on random data and return megabytes and seconds."""
    from vitrail.recipes import load_recipe
    from vitrail.segmentors import build_model
    from vitrail.training.setup import save_memory

    torch.manual_seed(0)
    recipe = load_recipe(recipe_name, ["model.pretrained=false", *overrides])
    model = build_model(recipe.model, 19).to(device).train()
    save_memory(model.backbone, recipe.train)
    images = torch.randn(batch, 3, crop, crop, device=device)
    targets = torch.randint(0, 19, (batch, crop, crop), device=device)
    kept: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    before = memory(device)
    seconds = []
    for _ in range(3):
        kept.clear()
        start = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            losses = model(images, targets)
        torch.stack(list(losses.values())).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        model.zero_grad(set_to_none=True)
    return {"activations": sum(kept.values()) / 1e6, "peak": memory(device) - before, "seconds": min(seconds)}


def memory(device: torch.device) -> float:
    """Return the peak memory of this process so far, in megabytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    """Print a line for each variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="pspnet_resnet50os8_cityscapes")
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        figures = measure(
            options.recipe, VARIANTS[options.variant], options.crop, options.batch, torch.device(options.device)
        )
        print(json.dumps(figures))
        return
    plain: dict[str, float] = {}
    for variant in VARIANTS:
        command = [sys.executable, __file__, *sys.argv[1:], "--variant", variant]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        figures = json.loads(output.splitlines()[-1])
        plain = plain or figures
        ratios = ", ".join(f"{name} {value / plain[name]:.2f}" for name, value in figures.items())
        print(
            f"{variant:26} activations {figures['activations']:7.0f} MB  peak +{figures['peak']:6.0f} MB  "
            f"{figures['seconds']:.2f} s/step  (ratios: {ratios})",
            flush=True,
        )


if __name__ == "__main__":
    main()
