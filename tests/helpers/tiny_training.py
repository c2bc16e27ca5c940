"""A dataset, a model and a recipe small enough to train in a test; as a program, trainings that can be killed.

python tiny_training.py '[{"folder": …, "base": "recipe", "changes": {…}, "resume": false, "die_at_step": 5}, …]'

With "attempts": N under `torchrun --max-restarts`, one of two processes by turns dies in each of the first N attempts.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors

from vitrail.backbones import BACKBONES, Backbone
from vitrail.datasets import Benchmark
from vitrail.datasets.dataset import DATASETS, RegisteredDataset
from vitrail.recipes import Recipe, recipe_from_dict
from vitrail.segmentors import SEGMENTORS, FeatureMaps, Head, Method

BENCHMARK = Benchmark("tiny", "Tiny", ("ground", "red", "blue"), ((0, 90, 0), (200, 0, 0), (0, 0, 200)), splits={})
COLOURS = torch.tensor([[40, 120, 40], [220, 60, 60], [60, 60, 220]], dtype=torch.uint8)
IMAGES = {"train": 26, "val": 5}  # 26 does not divide by the batches of the tests


class TinySource:
    """Noisy pictures of two rectangles; part of each mask is unlabelled, of every picture another part."""

    def __init__(self, split: str) -> None:
        self.ids = [f"{split}{index}" for index in range(IMAGES[split])]
        self.split = split

    def load(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        generator = torch.Generator().manual_seed(index + 1000 * (self.split == "val"))
        mask = torch.zeros(72, 80, dtype=torch.uint8)
        for label in (1, 2):
            top, left, height, width = torch.randint(8, 40, (4,), generator=generator).tolist()
            mask[top : top + height, left : left + width] = label
        noise = torch.randint(0, 35, (3, 72, 80), generator=generator, dtype=torch.uint8)
        image = COLOURS[mask.long()].permute(2, 0, 1) + noise
        mask[: 3 * (index % 7)] = 255
        return tv_tensors.Image(image), tv_tensors.Mask(mask)


class TinyBackbone(Backbone):
    """Two convolutions, no batch norm."""

    channels = (8,)
    strides = (2,)

    def __init__(self, *, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 8, 3, stride=2, padding=1)
        self.mix = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.mix(self.stem(images).relu()).relu()]


class Block(nn.Module):
    """A residual block with a norm and a layer of two, as a transformer has them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, 8)
        self.mix = nn.Sequential(nn.Conv2d(8, 24, 1), nn.GELU(), nn.Conv2d(24, 8, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(self.norm(x))


class BlocksBackbone(Backbone):
    """A convolution and three blocks; a batch norm, whose statistics differ between processes."""

    channels = (8,)
    strides = (4,)

    def __init__(self, *, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(in_channels, 8, 4, stride=4, bias=False), nn.BatchNorm2d(8))
        self.blocks = nn.ModuleList(Block() for _ in range(3))

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self._through(self.blocks, self.stem(images))]


class TinyHead(Head):
    """Dropout and a classifier."""

    def __init__(self, maps: FeatureMaps, num_classes: int, *, dropout: float = 0.0) -> None:
        super().__init__(num_classes)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(maps.channels[-1], num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.classifier(self.dropout(features[-1]))


def register(add: Callable[[dict[str, Any], str, Any], None]) -> None:
    """Register dataset and model with `add(mapping, name, entry)`."""
    add(DATASETS._entries, "tiny", RegisteredDataset(lambda root, split: (BENCHMARK, TinySource(split))))
    add(BACKBONES._entries, "tiny", TinyBackbone)
    add(BACKBONES._entries, "blocks", BlocksBackbone)
    add(SEGMENTORS._entries, "tiny", Method(TinyHead, "tiny"))
    add(SEGMENTORS._modules, "tiny", __name__)


def recipe(**changes: Any) -> Recipe:
    """Return a recipe of 12 iterations on one process; keys are dotted with `__` ("train__ema")."""
    data: dict[str, Any] = {
        "name": "tiny",
        "model": {"segmentor": "tiny"},
        "data": {"dataset": "tiny", "workers": 0, "augment": {"crop": [64, 64], "scale": [0.8, 1.2]}},
        "optimizer": {"lr": 0.05},
        "train": {"iterations": 12, "batch_size": 4, "log_every": 1, "save_every": 4},
    }
    for key, value in changes.items():
        *parents, last = key.split("__")
        section = data
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return recipe_from_dict(data)


def fastscnn(**changes: Any) -> Recipe:
    """Return a recipe with everything that must survive a resume: workers, augmentation, dropout, average, parts."""
    return recipe(
        **{
            "model__segmentor": "fastscnn",
            "model__options": {"dropout": 0.5},
            "data__workers": 2,
            "optimizer__name": "adamw",
            "optimizer__lr": 0.001,
            "train__ema": 0.9,
            "train__accumulate": 2,
            **changes,
        }
    )


def blocks(**changes: Any) -> Recipe:
    """Return a recipe of a model in blocks, with everything that a strategy is asked for."""
    return recipe(
        **{
            "model__backbone": "blocks",
            "optimizer__name": "adamw",
            "optimizer__lr": 0.01,
            "train__iterations": 6,
            "train__batch_size": 8,
            "train__accumulate": 2,
            "train__clip_grad_norm": 0.5,
            "train__ema": 0.9,
            **changes,
        }
    )


def die_after(calls: int, function: Callable[..., Any], number: int = signal.SIGKILL) -> Callable[..., Any]:
    """Return `function`, with a signal for this process, SIGKILL by default, before the call after so many."""
    count = 0

    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count > calls:
            os.kill(os.getpid(), number)
        return function(*args, **kwargs)

    return dying


def full_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function`, with the error of a full disk from the call after so many on."""
    count = 0

    def write(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count > calls:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return function(*args, **kwargs)

    return write


def skewed(seconds: float, clock: Callable[[], float]) -> Callable[[], float]:
    """Return a clock that is ahead of another one."""
    return lambda: clock() + seconds


def slowed(seconds: float, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function`, with a pause before each call."""

    def slow(*args: Any, **kwargs: Any) -> Any:
        time.sleep(seconds)
        return function(*args, **kwargs)

    return slow


def copy_before_last(run: Path, folder: Path) -> None:
    """Copy a run as it was before its last state was saved."""
    shutil.copytree(run, folder)
    (folder / "previous.state.pt").replace(folder / "last.state.pt")


def main(jobs: list[dict[str, Any]]) -> None:
    """Train one run after the other; in a job with `die_at_step`, process `rank` kills itself in that iteration.

    With `signal` it sends itself another signal, and with `note_exit` each process writes with which status its run
    ended, and goes on with the next job; `timeout` is how many seconds the processes wait for each other. With
    `copy_of` the run goes on from a copy of another one's last state but one, and `pause` is a time for each step.
    After `full_after_saves` the disk of process `rank` is full for its shards, in the first attempt; with `skew` its
    clock is wrong by so many seconds.
    """
    from vitrail.runtime.distributed import group, on_main, process_group
    from vitrail.training import train
    from vitrail.training.meter import Meter

    if any("full_after_saves" in job for job in jobs):
        from torch.distributed.checkpoint import FileSystemWriter

    torch.set_num_threads(1)
    register(lambda mapping, name, entry: mapping.update({name: entry}))
    step = Meter.step
    for job in jobs:
        attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
        dying = attempt % 2 if "attempts" in job else job.get("rank", 0)
        dies = "die_at_step" in job and attempt < job.get("attempts", 1)
        if dies and int(os.environ.get("RANK", "0")) == dying:
            number = getattr(signal, job.get("signal", "SIGKILL"))
            Meter.step = die_after(job["die_at_step"] - 1, Meter.step, number)  # type: ignore[method-assign]
        if "timeout" in job:
            group.TIMEOUT = timedelta(seconds=job["timeout"])
        if "copy_of" in job:
            with process_group("cpu"):
                on_main(functools.partial(copy_before_last, Path(job["copy_of"]), Path(job["folder"])))
        make = {"recipe": recipe, "fastscnn": fastscnn, "blocks": blocks}[job["base"]]
        if "full_after_saves" in job and attempt == 0 and int(os.environ.get("RANK", "0")) == job["rank"]:
            write = full_after(job["full_after_saves"], FileSystemWriter.write_data)
            FileSystemWriter.write_data = write  # type: ignore[method-assign]
        if "skew" in job and int(os.environ.get("RANK", "0")) == job["rank"]:
            time.time = skewed(job["skew"], time.time)
        if "pause" in job:
            Meter.step = slowed(job["pause"], Meter.step)  # type: ignore[method-assign]
        try:
            train(make(**job["changes"]), output_dir=job["folder"], resume=job.get("resume", False), device="cpu")
        except SystemExit as end:
            if "note_exit" not in job:
                raise
            Path(job["folder"], f"exit{os.environ['RANK']}").write_text(str(end.code))
            Meter.step = step  # type: ignore[method-assign]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
