"""Per-pixel losses of low-resolution logits against PyTorch's losses of resized logits; the CUDA kernels as well.

The kernels run on the CPU in Triton's interpreter, in a process of their own, where Triton is installed.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vitrail.losses import per_pixel, per_pixel_binary_cross_entropy, per_pixel_cross_entropy

SIZES = [
    ((5, 7), (20, 31)),
    ((20, 31), (9, 10)),
    ((6, 6), (6, 6)),
    ((1, 1), (8, 8)),
    ((6, 6), (6, 13)),
    ((6, 6), (13, 6)),
]


def problem(classes: int, source: tuple[int, int], target: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, targets with an ignored strip, and class weights."""
    logits = torch.randn(2, classes, *source, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, classes, (2, *target))
    targets[0, :2] = 255
    return logits, targets, torch.rand(classes, dtype=torch.float64)


def assert_same(found: Tensor, expected: Tensor, logits: Tensor) -> None:
    torch.testing.assert_close(found, expected)
    gradient = torch.randn_like(expected)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits, gradient)[0] for loss in (found, expected)))


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("classes", [3, 6, 20])  # resized, and in bands of both memory formats
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_cross_entropy(
    source: tuple[int, int], target: tuple[int, int], classes: int, align_corners: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(per_pixel, "_MIN_BAND_ROWS", 3)
    monkeypatch.setattr(per_pixel, "_CPU_BAND_VALUES", 1)  # several bands
    logits, targets, weights = problem(classes, source, target)
    resized = F.interpolate(logits, size=target, mode="bilinear", align_corners=align_corners)
    for options in ({}, {"weight": weights}, {"weight": weights, "label_smoothing": 0.1}):
        expected = F.cross_entropy(resized, targets, ignore_index=255, reduction="none", **options)
        found = per_pixel_cross_entropy(
            logits,
            targets.to(torch.uint8),
            align_corners=align_corners,
            class_weights=options.get("weight"),
            label_smoothing=options.get("label_smoothing", 0.0),
        )
        assert_same(found, expected, logits)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_binary_cross_entropy(source: tuple[int, int], target: tuple[int, int], weighted: bool) -> None:
    logits, targets, weights = problem(4, source, target)
    resized = F.interpolate(logits, size=target, mode="bilinear")
    one_hot = F.one_hot(targets.masked_fill(targets == 255, 0), 4).permute(0, 3, 1, 2).double()
    terms = F.binary_cross_entropy_with_logits(resized, one_hot, reduction="none")
    terms = terms * weights[:, None, None] if weighted else terms
    expected = torch.where(targets != 255, terms.sum(1), 0.0)
    found = per_pixel_binary_cross_entropy(logits, targets, class_weights=weights if weighted else None)
    assert_same(found, expected, logits)


@pytest.mark.parametrize("classes", [3, 5])  # resized, and in bands
def test_gradient_matches_finite_differences(classes: int) -> None:
    logits, targets, weights = problem(classes, (3, 4), (7, 9))
    loss = lambda x: per_pixel_cross_entropy(x, targets, class_weights=weights, label_smoothing=0.1)  # noqa: E731
    assert torch.autograd.gradcheck(loss, logits)


def test_half_precision_logits_are_resized_in_float32() -> None:
    logits, targets, _ = problem(20, (5, 7), (20, 31))
    half = logits.detach().bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = per_pixel_cross_entropy(half, targets)
    assert found.dtype == torch.float32
    expected = F.cross_entropy(
        F.interpolate(half.float(), size=(20, 31), mode="bilinear"), targets, ignore_index=255, reduction="none"
    )
    torch.testing.assert_close(found, expected)


def test_no_map_of_all_classes_is_kept_for_the_backward_pass() -> None:
    logits, targets, _ = problem(20, (8, 8), (64, 64))
    saved: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.numel()) or x, lambda x: x):
        per_pixel_cross_entropy(logits.float(), targets)
    assert max(saved) == 2 * 20 * 8 * 64  # the map whose width alone is resized; resized logits have 2 × 20 × 64 × 64


KERNELS = """
import torch
from torch.nn import functional as F
from vitrail.inference.best_class_triton import best_class
from vitrail.losses import per_pixel, per_pixel_triton

torch.manual_seed(0)
for source, height, align_corners in ((3, 10, False), (3, 10, True), (9, 4, False), (4, 4, False), (1, 4, True)):
    for keep, spread, binary in ((1.0, 0.0, False), (0.9, 0.03, False), (1.0, 0.0, True)):
        rows = (3 * torch.randn(2, 3, source, 5)).contiguous(memory_format=torch.channels_last)
        targets = torch.randint(0, 3, (2, height, 5)).to(torch.uint8)
        targets[0, :2] = 255
        weights, gradient = torch.rand(3), torch.randn(2, height, 5)
        options = (keep, spread, binary, align_corners)
        loss, lse = per_pixel._row_loss(rows, targets, weights, *options)
        found = per_pixel_triton.forward(rows, targets, weights, *options)
        torch.testing.assert_close(found[0], loss)
        expected = per_pixel._row_loss_backward(gradient, rows, targets, weights, lse, *options)
        found = per_pixel_triton.backward(gradient, rows, targets, weights, lse, *options)
        torch.testing.assert_close(found, expected)
wide, targets = torch.randn(1, 300, 2, 3), torch.tensor([[[255, -1, 299]] * 4], dtype=torch.int16)
wide = wide.contiguous(memory_format=torch.channels_last)
loss, lse = per_pixel._row_loss(wide, targets, torch.ones(300), 1.0, 0.0, False, False)
assert loss[0, :, 1].eq(0).all() and loss[0, :, 0].gt(0).all()
found = per_pixel_triton.forward(wide, targets, torch.ones(300), 1.0, 0.0, False, False)
torch.testing.assert_close(found[0], loss)
options = (wide, targets, torch.ones(300), lse, 1.0, 0.0, False, False)
expected = per_pixel._row_loss_backward(torch.ones_like(loss), *options)
torch.testing.assert_close(per_pixel_triton.backward(torch.ones_like(loss), *options), expected)
targets = torch.zeros(2, 4, 5, dtype=torch.uint8)
found, _ = per_pixel_triton.forward(rows, torch.full_like(targets, 7), weights, 1.0, 0.0, False, True)
assert found.isnan().all(), "a target that is no class"
rows = 3 * torch.randn(5, 3, 7)
resized = F.interpolate(rows[None], size=(10, 7), mode="bilinear")[0]
labels, scores = best_class(rows, 10, align_corners=False, dtype=torch.uint8, with_probability=True)
assert torch.equal(labels.long(), resized.argmax(0))
torch.testing.assert_close(scores, resized.softmax(0).amax(0))
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="torch comes without Triton here")
def test_the_cuda_kernels_in_the_interpreter() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KERNELS], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
