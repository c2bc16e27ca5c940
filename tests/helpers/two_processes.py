"""One training step of every method in each of two processes, as `test_two_processes.py` starts them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from helpers.small import CLASSES
from vitrail.runtime.distributed import process_group, rank
from vitrail.segmentors import Segmentor


def joint_batch() -> tuple[Tensor, Tensor]:
    """Return four images and targets; every image has the same number of ignored pixels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 64, 64, generator=generator, dtype=torch.float64)
    coarse = torch.randint(0, CLASSES - 2, (4, 1, 8, 8), generator=generator).float()
    targets = nn.functional.interpolate(coarse, (64, 64))[:, 0].long()
    targets[:, :16] = 255
    return images, targets


def model_in_training(name: str, build: Callable[[str], Segmentor]) -> Segmentor:
    """Return a method in training mode whose norms use their running statistics, as those of a batch depend on it."""
    torch.manual_seed(0)
    model = build(name).double().train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    return model


@contextmanager
def points_alike() -> Iterator[None]:
    """Draw the same random points for every image, none of them ignored: each process has a random state of its own."""
    draw = torch.rand

    def rand(count: int, *size: int, **options: Any) -> Tensor:
        same = draw(1, *size, generator=torch.Generator().manual_seed(0), **options)
        return (0.3 + 0.7 * same).expand(count, *size)

    torch.rand = rand  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.rand = draw


def step(
    name: str, build: Callable[[str], Segmentor], images: Tensor, targets: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Return losses, gradients and buffers after one pass forward and backward."""
    model = model_in_training(name, build)
    with points_alike():
        losses = model(images, targets)
    torch.stack(list(losses.values())).sum().backward()
    gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    return {key: value.detach() for key, value in losses.items()}, gradients, dict(model.named_buffers())


def run(names: list[str], build: Callable[[str], Segmentor], folder: str) -> None:
    """Take one half of the batch; average losses and gradients over both processes, and save what came out."""
    with process_group("cpu"):
        images, targets = joint_batch()
        half = slice(2 * rank(), 2 * rank() + 2)
        results = {}
        for name in names:
            losses, gradients, buffers = step(name, build, images[half], targets[half])
            for value in (*losses.values(), *gradients.values()):
                dist.all_reduce(value)
                value /= 2
            results[name] = losses, gradients, buffers
        torch.save(results, Path(folder) / f"{rank()}.pt")
