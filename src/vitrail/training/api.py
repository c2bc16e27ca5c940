"""Train a model with one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from vitrail.recipes import Recipe
from vitrail.training.loop import TrainingRun
from vitrail.training.result import TrainingResult


def train(
    recipe: Recipe | str | Path,
    *,
    output_dir: str | Path,
    overrides: Sequence[str] = (),
    data_root: str | Path | None = None,
    resume: bool | Literal["auto"] = False,
    start_from: str | Path | None = None,
    device: str | torch.device | None = None,
) -> TrainingResult:
    """Train a model.

    Under `torchrun` every process calls this alike. The batch of the recipe is that of one optimizer step, over all
    processes and all parts (`train.accumulate`) together: each part's loss counts by its share of the batch's labelled
    pixels, so that for losses which average over those pixels the gradient is that of the whole batch, however it is
    split. (Batch norms see the parts one by one. Losses that average over something else, such as dice and Lovász,
    are averaged over the parts.)

    A run that was interrupted, in whatever way, is resumed with `resume=True` from its last checkpoint, with the same
    result: on the CPU with the same number of processes the weights are the same bit for bit. Torch's global random
    state is left as it was. To change a step of the loop, or to train a ready model or ready datasets, use
    `TrainingRun`.

    Parameters
    ----------
    recipe, output_dir, overrides, data_root, resume, start_from, device
        See `TrainingRun`.

    Returns
    -------
    TrainingResult

    Raises
    ------
    VitrailError
        For mistakes in the recipe, the data or the arguments.
    TrainingError
        When the loss is no longer finite or the disk is full; the last good checkpoint is then still there.

    Examples
    --------
    >>> result = vitrail.train("fastscnn_camvid", output_dir="runs/first", data_root="data/camvid")
    >>> result.evaluation.miou
    """
    run = TrainingRun(
        recipe,
        output_dir=output_dir,
        overrides=overrides,
        data_root=data_root,
        resume=resume,
        start_from=start_from,
        device=device,
    )
    return run.run()
