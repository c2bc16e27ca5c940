"""The contrastive loss: against its formula, and over two processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.contrastive import half, pairs, step
from helpers.processes import in_two_processes

from vitrail.losses.contrastive import ContrastiveLoss


def test_each_image_and_each_text_picks_its_own() -> None:
    images, texts = (x.flatten(1) / x.flatten(1).norm(dim=1, keepdim=True) for x in pairs())
    similar = images @ texts.T / 0.07
    expected = sum(
        similar[i].logsumexp(0) + similar[:, i].logsumexp(0) - 2 * similar[i, i] for i in range(len(similar))
    ) / len(similar)
    torch.testing.assert_close(step(*pairs())[0], expected)
    assert step(*(x[:1] for x in pairs()))[0] == 0


def test_the_scale_is_bounded() -> None:
    loss = ContrastiveLoss(1e-9)
    assert loss(*pairs()) <= 2 * (200 + torch.tensor(4.0).log())


@pytest.mark.nightly
def test_two_processes_compare_as_one(tmp_path: Path) -> None:
    in_two_processes(half, str(tmp_path))
    value, scale, *gradients = step(*pairs())
    for number in range(2):
        their_value, their_scale, *theirs = torch.load(tmp_path / f"{number}.pt")
        torch.testing.assert_close(their_value, value)
        torch.testing.assert_close(their_scale, scale)
        for their, gradient in zip(theirs, gradients, strict=True):
            torch.testing.assert_close(their, gradient[2 * number : 2 * number + 2])
