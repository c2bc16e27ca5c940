"""The largest batch that the device holds, for `train.batch_size=auto`."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from vitrail.errors import TrainingError
from vitrail.recipes import Recipe
from vitrail.runtime.distributed import world_size

ON_CPU = 16
SPARE = 0.1  # share of the free memory that is left for what steps of other images and evaluation need


def with_batch_size(recipe: Recipe, size: int) -> Recipe:
    """Return a recipe with a number as `train.batch_size`."""
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"batch_size": size})})


@contextmanager
def unchanged_weights(model: nn.Module | None) -> Iterator[None]:
    """Give a model, if there is one, the weights and statistics back that it had before a block."""
    if model is None:
        yield
        return
    before = {name: value.cpu().clone() for name, value in model.state_dict().items()}
    yield
    model.load_state_dict(before)


def choose_batch_size(
    recipe: Recipe, images: int, device: torch.device, steps: Callable[[int], None]
) -> tuple[int, str]:
    """Return the size of the batch, and what the log should say about it.

    On CUDA it is the largest that fits, at most the number of images: doubled until it does not fit, then found by
    halving the range. On other devices it is 16, or the number of images where there are fewer.

    Parameters
    ----------
    recipe : Recipe
        Of the run.
    images : int
        Number of training images.
    device : torch.device
        Of this process.
    steps : callable
        Makes training steps with a batch of so many images.

    Raises
    ------
    TrainingError
        On CUDA in several processes, and when not even the smallest batch fits.
    """
    parts = world_size() * recipe.train.accumulate
    most = images // parts * parts
    if device.type != "cuda":
        size = max(min(ON_CPU // parts * parts, most), parts)
        return size, (
            f"train.batch_size=auto looks for the largest batch that a CUDA device holds; on {device.type} it is {size}"
        )
    if world_size() > 1:
        raise TrainingError(
            "train.batch_size=auto looks for a batch in one process: start the run once without torchrun, and give "
            f"train.batch_size as what it found times {world_size()}"
        )
    limit = (1 - SPARE) * torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    size = largest(lambda parts_of: _fits(parts_of * parts, steps, device, limit), max(most // parts, 1)) * parts
    if not size:
        raise TrainingError(
            f"the device's memory does not hold a training step of {parts} images: a smaller data.augment.crop, "
            "train.amp=bfloat16 or train.activation_checkpointing=true need less"
        )
    return size, (
        f"train.batch_size=auto: {size} images fit"
        f"{' (there are no more)' if size == most else ''}; the learning rate stays what it is"
    )


def largest(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest number from 1 to `most` that fits, or 0; if a number fits, so do all smaller ones."""
    good, bad = 0, most + 1
    size = 1
    while good + 1 < bad:
        if fits(size):
            good = size
        else:
            bad = size
        size = min(2 * good, most) if bad > most and good else (good + bad) // 2
    return good


def _fits(size: int, steps: Callable[[int], None], device: torch.device, limit: float) -> bool:
    """Return whether steps with so many images stay within a limit in bytes; their memory is released."""
    release_memory()
    torch.cuda.reset_peak_memory_stats(device)
    try:
        steps(size)
        return torch.cuda.max_memory_reserved(device) <= limit
    except torch.cuda.OutOfMemoryError:
        return False
    finally:
        release_memory()


def release_memory() -> None:
    """Give back the memory of a CUDA device that no tensor uses."""
    gc.collect()  # an exception's traceback holds the tensors of the step
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
