"""The result of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vitrail.evaluation.result import Evaluation
from vitrail.segmentors import Segmentor
from vitrail.training.records import Record


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """The result of a training run.

    Attributes
    ----------
    model : Segmentor
        The model at the end (the average of the weights where `train.ema` is set), in evaluation mode, with its card.
    output_dir : Path
        Holds the files below, `last.state.pt` and the files of the loggers (`train.log`, `log.jsonl`).
    best, last : Path
        The model with the best mIoU, and the one of the end.
    history : list of dict
        The records of the run, as in `log.jsonl`.
    evaluation : Evaluation
        Of `model` on the evaluation split.
    """

    model: Segmentor
    output_dir: Path
    best: Path
    last: Path
    history: list[Record]
    evaluation: Evaluation
