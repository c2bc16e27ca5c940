"""Vitrail's rows: its own training loop on a batch that is already on the device, its model, its predictor."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from benchmarks.cuda.switches import half
from benchmarks.cuda.timing import Stopwatch
from benchmarks.cuda.workload import Workload, images_and_targets
from parity.references import without_dropout
from vitrail.datasets import Benchmark, SegmentationDataset
from vitrail.precision import Precision
from vitrail.recipes import Recipe, load_recipe
from vitrail.segmentors import Segmentor, build_model
from vitrail.training.loop import TrainingRun


class _Finished(Exception):
    """Enough steps were timed."""


class _NoImages:
    """A source whose images are never read: the batch is on the device already."""

    def __init__(self, count: int) -> None:
        self.ids = [f"image{index}" for index in range(count)]

    def load(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        raise AssertionError(f"image {index} should not be read")


class TimedRun(TrainingRun):
    """A training run whose steps are timed, on one batch of random images; it ends with `_Finished`."""

    def __init__(self, work: Workload, watch: Stopwatch, overrides: tuple[str, ...], folder: str) -> None:
        benchmark = Benchmark(
            name="random",
            title="Random images",
            classes=tuple(f"class {index}" for index in range(work.classes)),
            palette=tuple((index, index, index) for index in range(work.classes)),
            splits={},
        )
        data = SegmentationDataset(benchmark, _NoImages(work.batch))
        super().__init__(
            work.recipe,
            output_dir=folder,
            overrides=(*training_overrides(work), *overrides),
            device=watch.device,
            train_dataset=data,
            eval_dataset=data,
        )
        self._watch, self._work = watch, work

    def create_model(self) -> Segmentor:
        """Build the recipe's model; the models of the other toolboxes have no dropout either."""
        return without_dropout(super().create_model())

    def batches(self) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield the same batch again and again."""
        batch = images_and_targets(self._work, self.device)
        self._watch.start()
        while True:
            yield batch

    def step(self) -> None:
        """Make a step and tell the watch."""
        super().step()
        if self._watch.tick():
            raise _Finished


def training_overrides(work: Workload) -> tuple[str, ...]:
    """Return what the recipe needs to run on random images without end."""
    return (
        *work.overrides,
        "model.pretrained=false",
        f"train.batch_size={work.batch}",
        "train.epochs=null",
        "train.iterations=1000000",
        "train.log_every=100000",
        "train.eval_every=1000000",
        "train.save_every=1000000",
        "train.loggers=[]",
        "optimizer.lr=0.000001",
    )


def time_training(work: Workload, watch: Stopwatch, amp: Precision, *, compile: str) -> None:
    """Train as `vitrail train` does until the watch has enough."""
    overrides = (f"train.amp={half(watch.device, amp)}", f"train.compile={compile}")
    with tempfile.TemporaryDirectory() as folder:
        run = TimedRun(work, watch, overrides, folder)
        try:
            run.run()
        except _Finished:
            return
    raise AssertionError("the run ended before enough steps were timed")


def recipe_of(work: Workload) -> Recipe:
    """Return the recipe."""
    return load_recipe(work.recipe, training_overrides(work))


def built_model(work: Workload, device: torch.device) -> Segmentor:
    """Return the recipe's model in evaluation mode, channels_last, on the device."""
    model = build_model(recipe_of(work).model, work.classes)
    prepared: Any = without_dropout(model).to(device, memory_format=torch.channels_last).eval()
    return prepared
