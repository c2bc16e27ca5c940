"""Pairs of images and texts, and the contrastive loss of them in each of two processes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch import distributed as dist

from vitrail.losses.contrastive import ContrastiveLoss
from vitrail.runtime.distributed import process_group, rank


def pairs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(4, 3, 5, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def step(images: Tensor, texts: Tensor) -> list[Tensor]:
    """Return the loss, the gradient of its temperature and those of its arguments."""
    images, texts = images.clone().requires_grad_(), texts.clone().requires_grad_()
    loss = ContrastiveLoss(0.07).double()
    value = loss(images, texts)
    value.backward()
    return [value.detach(), loss.log_scale.grad, images.grad, texts.grad]  # type: ignore[list-item]


def half(folder: str) -> None:
    with process_group("cpu"):
        own = slice(2 * rank(), 2 * rank() + 2)
        value, scale, *rest = step(*(x[own] for x in pairs()))
        for mean in (value, scale):
            dist.all_reduce(mean)
            mean /= 2
        torch.save([value, scale, *(gradient / 2 for gradient in rest)], Path(folder) / f"{rank()}.pt")
