"""The batch that fits: the search, what is done without CUDA, and runs that go on with the number that was found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import tiny_training as tiny
from torch import Tensor

from vitrail import checkpoints
from vitrail.errors import TrainingError
from vitrail.segmentors import create_model
from vitrail.training import TrainingRun, train
from vitrail.training import batch_size as sizes
from vitrail.training.folder import STATE


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)


@pytest.mark.parametrize("most", [1, 2, 7, 26, 64])
def test_the_search_finds_the_largest_with_few_trials(most: int) -> None:
    for limit in range(most + 3):
        tried: list[int] = []

        def fits(size: int, limit: int = limit, tried: list[int] = tried) -> bool:
            tried.append(size)
            return size <= limit

        assert sizes.largest(fits, most) == min(limit, most)
        assert len(tried) == len(set(tried)) <= 2 * most.bit_length() + 1


def test_without_cuda_the_batch_is_16_and_the_log_says_so(tmp_path: Path) -> None:
    recipe = tiny.recipe(train__batch_size="auto", train__iterations=2)
    train(recipe, output_dir=tmp_path / "auto", device="cpu")
    log = (tmp_path / "auto/train.log").read_text()
    assert "auto looks for the largest batch that a CUDA device holds; on cpu it is 16" in log
    card = checkpoints.load_model(tmp_path / "auto/last.safetensors").card
    assert card is not None and card.recipe["train"]["batch_size"] == 16
    train(tiny.recipe(train__batch_size=16, train__iterations=2), output_dir=tmp_path / "given", device="cpu")
    one, other = (torch.load(tmp_path / name / STATE, weights_only=True)["model"] for name in ("auto", "given"))
    assert all(torch.equal(one[key], other[key]) for key in one)


class Limited(TrainingRun):
    """A run on a device that holds eleven images."""

    sizes: list[int]

    def compute_losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        self.sizes.append(len(images))
        if len(images) > 11:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return super().compute_losses(images, targets)


def test_a_run_trains_with_the_largest_batch_and_is_resumed_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_on_cuda(recipe, images, device, steps):  # type: ignore[no-untyped-def]
        def fits(size: int) -> bool:
            try:
                steps(size)
            except torch.cuda.OutOfMemoryError:
                return False
            return True

        return sizes.largest(fits, images), "found"

    monkeypatch.setattr("vitrail.training.loop.choose_batch_size", as_on_cuda)
    changes = {"model__losses": [{"options": {"class_weights": "balanced"}}], "train__ema": 0.9}
    recipe = tiny.recipe(**changes, train__batch_size="auto", train__iterations=2)
    run = Limited(recipe, output_dir=tmp_path / "auto", device="cpu")
    run.sizes = []
    run.run()
    assert {1, 2, 4, 8, 16} < set(run.sizes) and run.sizes[-2:] == [11, 11]
    longer = tiny.recipe(**changes, train__batch_size="auto", train__iterations=4)
    monkeypatch.setattr("vitrail.training.loop.choose_batch_size", None)
    train(longer, output_dir=tmp_path / "auto", resume=True, device="cpu")
    given = tiny.recipe(**changes, train__batch_size=11, train__iterations=2)
    train(given, output_dir=tmp_path / "given", device="cpu")
    given = tiny.recipe(**changes, train__batch_size=11, train__iterations=4)
    train(given, output_dir=tmp_path / "given", resume=True, device="cpu")
    one, other = (torch.load(tmp_path / name / STATE, weights_only=True) for name in ("auto", "given"))
    assert all(torch.equal(one["model"][key], other["model"][key]) for key in one["model"])
    assert one["recipe"] == other["recipe"]
    with pytest.raises(TrainingError, match=r"train\.batch_size was 11, is 8"):
        train(tiny.recipe(**changes, train__batch_size=8), output_dir=tmp_path / "auto", resume=True, device="cpu")


def test_a_ready_model_is_as_it_was_after_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def two_steps(recipe, images, device, steps):  # type: ignore[no-untyped-def]
        steps(2)
        seen.append(model.head.classifier.weight.detach().clone())  # type: ignore[union-attr]
        return 4, "found"

    monkeypatch.setattr("vitrail.training.loop.choose_batch_size", two_steps)
    model = create_model("tiny", num_classes=3)
    before = model.head.classifier.weight.detach().clone()  # type: ignore[union-attr]
    run = TrainingRun(
        tiny.recipe(train__batch_size="auto", train__loggers=[]), output_dir=tmp_path / "b", device="cpu", model=model
    )
    run.setup()
    assert not torch.equal(seen[0], before)
    assert torch.equal(model.head.classifier.weight, before)  # type: ignore[union-attr]
    assert all(parameter.grad is None for parameter in model.parameters())
