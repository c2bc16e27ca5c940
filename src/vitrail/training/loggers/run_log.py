"""What a run tells: lines for people, JSON for programs."""

from __future__ import annotations

import json
import math
import sys
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import torch
from tqdm import tqdm

from vitrail import __version__
from vitrail.errors import TrainingError
from vitrail.evaluation.result import Evaluation
from vitrail.files.atomic import atomic_path
from vitrail.recipes import Recipe
from vitrail.runtime.distributed import is_main, world_size
from vitrail.segmentors import Segmentor
from vitrail.training.meter import Window
from vitrail.training.setup import Plan

Record = dict[str, Any]


class RunLog:
    """Writes `train.log` and `log.jsonl` in the output folder, and the same lines to stderr; only the main process.

    Parameters
    ----------
    folder : Path
        The output folder.
    history : list of dict
        What `log.jsonl` shall begin with: the records up to the point from which a run goes on. New records are
        appended to this list too, in every process.
    plan : Plan
        How long the run is.
    batch_size : int
        Images in an iteration.

    Raises
    ------
    TrainingError
        When the files cannot be written.
    """

    def __init__(self, folder: Path, history: list[Record], plan: Plan, *, batch_size: int) -> None:
        self.history = history
        self._folder = folder
        self._plan = plan
        self._batch_size = batch_size
        self._text: TextIO | None = None
        self._json: TextIO | None = None
        if is_main():
            self._open()

    def begin(self, recipe: Recipe, model: Segmentor, *, start: int, images: int, device: torch.device) -> None:
        """Log what is about to be trained, from which iteration on."""
        if start >= self._plan.iterations:
            self.say(f"the run in {self._folder} is complete: {start} iterations, nothing left to train")
            return
        parameters = sum(parameter.numel() for parameter in model.parameters())
        record = {
            "event": "resume" if start else "start",
            **self._when(start),
            "recipe": recipe.model_dump(mode="json"),
            "parameters": parameters,
            "images": images,
            "iterations": self._plan.iterations,
            "processes": world_size(),
            "device": str(device),
            "torch": str(torch.__version__),
            "vitrail": __version__,
        }
        self._record(
            record,
            f"{'resuming' if start else 'training'} {recipe.name or recipe.model.segmentor} on {device}"
            f"{f' with {world_size()} processes' if world_size() > 1 else ''}: {parameters / 1e6:.2f} M parameters, "
            f"{images} images, {self._plan.per_epoch} iterations per epoch, iterations {start + 1} to "
            f"{self._plan.iterations}",
        )

    def say(self, line: str) -> None:
        """Tell people something."""
        if self._text is None:
            return
        tqdm.write(line, file=sys.stderr)
        self._write(self._text, line)

    def losses(self, iteration: int, window: Window, *, lr: float, memory: float | None) -> Record:
        """Log the means of a window of iterations and return the record."""
        speed = window.iterations * self._batch_size / window.seconds
        remaining = (self._plan.iterations - iteration) * self._batch_size / speed
        record = {
            "event": "train",
            **self._when(iteration),
            "loss": window.loss,
            "losses": window.losses,
            "lr": lr,
            "images_per_second": speed,
            "data_wait": window.data_wait,
            "eta_seconds": remaining,
            "memory_gb": memory,
        }
        terms = " ".join(f"{name} {value:.4f}" for name, value in window.losses.items())
        parts = [
            f"{self._position(iteration)}  loss {window.loss:.4f}",
            *([f"({terms})"] if len(window.losses) > 1 else []),
            f"lr {lr:.2e}  {speed:.1f} img/s  data {window.data_wait:.0%}  eta {timedelta(seconds=round(remaining))}",
            *([f"{memory:.2f} GB"] if memory is not None else []),
        ]
        self._record(record, "  ".join(parts))
        return record

    def evaluation(self, iteration: int, evaluation: Evaluation, *, best: bool) -> Record:
        """Log an evaluation and return the record."""
        figures = evaluation.to_dict()
        record = {
            "event": "evaluation",
            **self._when(iteration),
            **{name: figures[name] for name in ("miou", "macc", "aacc", "mdice", "images", "images_per_second")},
            "iou": {row["name"]: row["iou"] for row in figures["classes"]},
            "best": best,
        }
        self._record(
            record,
            f"{self._position(iteration)}  mIoU {100 * evaluation.miou:.2f}  mAcc {100 * evaluation.macc:.2f}  "
            f"aAcc {100 * evaluation.aacc:.2f}  mDice {100 * evaluation.mdice:.2f}"
            f"  ({evaluation.images} images, {evaluation.images_per_second:.1f}/s){'  best' if best else ''}",
        )
        return record

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._text, self._json):
            if file is not None:
                file.close()

    def _when(self, iteration: int) -> dict[str, float]:
        return {"iteration": iteration, "epoch": iteration / self._plan.per_epoch}

    def _position(self, iteration: int) -> str:
        epochs = math.ceil(self._plan.iterations / self._plan.per_epoch)
        epoch = math.ceil(iteration / self._plan.per_epoch)
        return f"epoch {epoch}/{epochs}  iteration {iteration}/{self._plan.iterations}"

    def _open(self) -> None:
        path = self._folder / "log.jsonl"
        try:
            with atomic_path(path) as temporary:
                temporary.write_text("".join(_json_line(record) for record in self.history), encoding="utf-8")
            self._json = path.open("a", encoding="utf-8")
            self._text = (self._folder / "train.log").open("a" if self.history else "w", encoding="utf-8")
        except OSError as error:
            raise TrainingError(f"cannot write the logs in {self._folder}: {error}") from error

    def _record(self, record: Record, line: str) -> None:
        self.history.append(record)
        if self._json is not None:
            self._write(self._json, _json_line(record).rstrip("\n"))
        self.say(line)

    def _write(self, file: TextIO, line: str) -> None:
        try:
            file.write(line + "\n")
            file.flush()
        except OSError as error:
            raise TrainingError(f"cannot write the logs in {self._folder}: {error}") from error


def _json_line(record: Record) -> str:
    return json.dumps(record, allow_nan=False) + "\n"
