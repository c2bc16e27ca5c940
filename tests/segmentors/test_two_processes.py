"""Two processes with half of the batch each are one process with all of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.processes import in_two_processes
from helpers.small import BUILDERS
from helpers.two_processes import joint_batch, run, step

from vitrail import list_segmentors
from vitrail.segmentors import Segmentor


@cache
def together(build: Callable[[str], Segmentor]) -> list[dict[str, Any]]:
    """Return what each of two processes got for every method."""
    with tempfile.TemporaryDirectory() as folder:
        in_two_processes(run, list_segmentors(), build, folder)
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(2)]


@BUILDERS
@pytest.mark.parametrize("name", list_segmentors())
def test_two_processes_train_as_one(name: str, build: Callable[[str], Segmentor]) -> None:
    losses, gradients, buffers = step(name, build, *joint_batch())
    for rank in range(2):
        their_losses, their_gradients, their_buffers = together(build)[rank][name]
        assert their_losses.keys() == losses.keys()
        for term in losses:
            torch.testing.assert_close(their_losses[term], losses[term], rtol=1e-8, atol=1e-10, msg=term)
        for key, buffer in buffers.items():
            torch.testing.assert_close(their_buffers[key], buffer, rtol=1e-8, atol=1e-10, msg=key)
        assert their_gradients.keys() == gradients.keys()
        for key, gradient in gradients.items():
            scale = gradient.abs().max().item()
            torch.testing.assert_close(their_gradients[key], gradient, rtol=1e-6, atol=1e-8 * scale + 1e-12, msg=key)
