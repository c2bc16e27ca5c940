"""The memory of classes: what it remembers, and that processes make the memory that one of them would make."""

from __future__ import annotations

from pathlib import Path

import torch
from helpers.processes import execute, in_two_processes
from torch import Tensor

from vitrail.layers.class_memory import ClassMemory

WORKER = """
import sys
import torch
from vitrail.layers.class_memory import ClassMemory
from vitrail.runtime.distributed import process_group, rank

with process_group("cpu"):
    features, targets, start = torch.load(sys.argv[1], weights_only=True)
    memory = ClassMemory(4, 8)
    memory.features.copy_(start)
    mine = slice(rank(), None, 2)
    memory.update(features[mine], targets[mine], torch.tensor(0.5))
    torch.save(memory.features, f"{sys.argv[2]}/{rank()}.pt")
"""


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Return features and targets of four images, and a memory that has not seen class 1; class 3 does not occur."""
    targets = torch.randint(0, 3, (4, 12, 16))
    targets[1] = 0  # half of the images lack most classes
    targets[3, :4] = 255
    start = torch.randn(4, 8)
    start[1] = 0.0
    return torch.randn(4, 8, 6, 8), targets, start


def test_a_new_class_is_the_mean_of_its_pixels_and_an_absent_one_stays() -> None:
    features, targets, start = batch()
    memory = ClassMemory(4, 8)
    memory.features.copy_(start)
    memory.update(features, targets, torch.tensor(0.5))
    pixels = torch.nn.functional.interpolate(features, (12, 16), mode="bilinear").movedim(1, -1)
    torch.testing.assert_close(memory.features[1], pixels[targets == 1].mean(0))
    torch.testing.assert_close(memory.features[3], start[3], rtol=0, atol=0)
    assert not torch.equal(memory.features[0], start[0])


def test_a_batch_without_labels_changes_nothing() -> None:
    features, targets, start = batch()
    memory = ClassMemory(4, 8)
    memory.features.copy_(start)
    memory.update(features, torch.full_like(targets, 255), torch.tensor(0.5))
    torch.testing.assert_close(memory.features, start, rtol=0, atol=0)


def test_two_processes_make_the_memory_of_one(tmp_path: Path) -> None:
    features, targets, start = batch()
    torch.save((features, targets, start), tmp_path / "batch.pt")
    in_two_processes(execute, WORKER, str(tmp_path / "batch.pt"), str(tmp_path))
    memory = ClassMemory(4, 8)
    memory.features.copy_(start)
    memory.update(features, targets, torch.tensor(0.5))
    for process in range(2):
        theirs = torch.load(tmp_path / f"{process}.pt", weights_only=True)
        torch.testing.assert_close(theirs, memory.features, rtol=1e-5, atol=1e-6)
