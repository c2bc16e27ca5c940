"""Segmenting images into a folder of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vitrail.errors import DatasetError, PredictionError
from vitrail.inference.api import iterate_predictions
from vitrail.inference.prediction import Kind
from vitrail.inference.sources.images import Picture, find_images
from vitrail.recipes import Recipe
from vitrail.runtime.device import Precision
from vitrail.runtime.progress_bar import ProgressBar
from vitrail.segmentors import Segmentor

_SHOWN = 5


class UnreadableImagesError(PredictionError):
    """Some of the images could not be read.

    Attributes
    ----------
    records : list of dict
        What `predict_files` returns, of all others.
    """

    def __init__(self, message: str, records: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.records = records


def predict_files(
    model: Segmentor | str | Path,
    images: Picture | Sequence[Picture],
    output_dir: str | Path,
    *,
    kinds: Sequence[Kind] = ("overlay",),
    alpha: float = 0.5,
    recipe: Recipe | str | Path | None = None,
    overrides: Sequence[str] = (),
    device: str | torch.device | None = None,
    amp: Precision = "none",
) -> list[dict[str, Any]]:
    """Segment images and write the pictures; one image at a time is in memory.

    Parameters
    ----------
    model, images, recipe, overrides, device, amp
        As in `predict`.
    output_dir : path
        The folder for the pictures, `<name of the image>_<kind>.png`.
    kinds : sequence of {"overlay", "colour", "index"}
        Which pictures; see `Prediction.save`.
    alpha : float
        Share of the colours in overlays.

    Returns
    -------
    list of dict
        For each image its name, size, the area of every class in it, and the files written: JSON-ready data.

    Raises
    ------
    UnreadableImagesError
        At the end, when images could not be read: it names them, and the pictures of all others are there.
    VitrailError
        When model, recipe or images cannot be found.
    """
    folder = Path(output_dir)
    sources = find_images(images)
    failures: list[str] = []

    def note_failure(name: str, error: DatasetError) -> None:
        failures.append(str(error))

    records = []
    predictions = iterate_predictions(
        model, sources, recipe=recipe, overrides=overrides, device=device, amp=amp, on_error=note_failure
    )
    with ProgressBar("predict", total=len(sources)) as bar:
        for number, prediction in enumerate(predictions):
            name = prediction.id or f"image{number:04d}"
            files = {kind: folder / f"{name}_{kind}.png" for kind in kinds}
            for kind, path in files.items():
                prediction.save(path, kind, alpha=alpha)
            bar.advance(1)
            records.append({**prediction.to_dict(), "files": {kind: str(path) for kind, path in files.items()}})
    if failures:
        others = f" (the others are in {folder})" if records else ""
        more = f"\n… and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
        raise UnreadableImagesError(
            f"{len(failures)} of {len(sources)} images could not be read{others}:\n"
            + "\n".join(failures[:_SHOWN])
            + more,
            records,
        )
    return records
