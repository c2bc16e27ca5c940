"""Curves and sample predictions for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torchvision.transforms.v2.functional import pil_to_tensor

from vitrail.datasets import SegmentationDataset
from vitrail.errors import TrainingError
from vitrail.inference import Predictor
from vitrail.runtime.distributed import is_main
from vitrail.visualize import overlay
from vitrail.visualize.overlay import as_picture

PICTURES = 4


class Board:
    """Writes what TensorBoard shows into `tensorboard/` in the output folder; only the main process.

    Parameters
    ----------
    folder : Path
        The output folder.
    start : int
        The iteration from which the run goes on; what was written beyond it is taken back.

    Raises
    ------
    TrainingError
        When TensorBoard is not installed.
    """

    def __init__(self, folder: Path, *, start: int) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise TrainingError(
                "train.tensorboard=true needs TensorBoard: pip install 'vitrail[logging]', "
                "or set train.tensorboard=false"
            ) from error
        self._writer = (
            SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1 if start else None) if is_main() else None
        )

    def curves(self, record: dict[str, Any]) -> None:
        """Add the figures of a log record."""
        if self._writer is None:
            return
        group = record["event"]
        for name, value in _scalars(record):
            self._writer.add_scalar(f"{group}/{name}", value, record["iteration"])

    def pictures(self, iteration: int, predictor: Predictor, dataset: SegmentationDataset) -> None:
        """Add a few images of `dataset`, each with the prediction laid over it, and beside it with the true mask."""
        if self._writer is None:
            return
        palette = dataset.benchmark.palette
        count = min(PICTURES, len(dataset))
        for index in range(0, len(dataset), max(1, len(dataset) // count))[:count]:
            sample = dataset[index]
            height, width = sample["size"]
            (prediction,) = predictor.segment([sample["image"]], [(height, width)])
            image = as_picture(sample["image"]).resize((width, height))
            views = [pil_to_tensor(overlay(image, mask, palette)) for mask in (prediction, sample["mask"])]
            self._writer.add_image(f"prediction/{sample['id']}", torch.cat(views, dim=-1), iteration)
        self._writer.flush()

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()


def _scalars(record: dict[str, Any]) -> list[tuple[str, float]]:
    found = []
    for name, value in record.items():
        if isinstance(value, dict):
            found += [(f"{name}/{key}", inner) for key, inner in value.items() if inner is not None]
        elif isinstance(value, float) and name != "epoch":
            found.append((name, value))
    return found
