"""Segment images and write the results to a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from vitrail.errors import PredictionError, VitrailError
from vitrail.inference.prediction import Kind
from vitrail.inference.predictor import Predictor, PredictorOptions, as_predictor
from vitrail.inference.sources import Pictures, open_frames
from vitrail.inference.sources.opening import input_files
from vitrail.runtime.progress_bar import ProgressBar
from vitrail.segmentors import Segmentor

_MAX_LISTED = 5


class UnreadableImagesError(PredictionError):
    """Some of the images could not be read.

    Attributes
    ----------
    records : list of dict
        What `predict_files` returns, for all other images.
    """

    def __init__(self, message: str, records: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.records = records


def predict_files(
    model: Predictor | Segmentor | str | Path,
    images: Pictures,
    output_dir: str | Path,
    *,
    kinds: Sequence[Kind] = ("overlay",),
    alpha: float = 0.5,
    **options: Unpack[PredictorOptions],
) -> list[dict[str, Any]]:
    """Segment images and write pictures; one batch of images at a time is in memory.

    Parameters
    ----------
    model, images
        As in `predict`.
    output_dir : path
        The folder for the pictures, `<name of the image>_<kind>.png`. An image whose name is taken by another one of
        this call gets a number appended.
    kinds : sequence of {"overlay", "colour", "index"}
        Which pictures; see `Prediction.save`.
    alpha : float
        Opacity of the colours in overlays.
    **options
        The keyword arguments of `vitrail.Predictor`; none with a predictor.

    Returns
    -------
    list of dict
        For each image its name, size, the area of every class in it, and the files written: JSON-ready data.

    Raises
    ------
    UnreadableImagesError
        At the end, when images could not be read: it names them, and the pictures of all others are there.
    VitrailError
        When model, recipe or images cannot be found, and where a picture would replace one of the images.
    """
    folder = Path(output_dir)
    frames = open_frames(images)
    failures: list[str] = []

    def note_failure(name: str, error: VitrailError) -> None:
        failures.append(str(error))

    records: list[dict[str, Any]] = []
    names: set[str] = set()
    inputs = set(input_files(frames))
    predictions = as_predictor(model, options)(frames, on_error=note_failure)
    with ProgressBar("predict", total=frames.num_frames) as bar:
        for number, prediction in enumerate(predictions):
            name = _free_name(prediction.id or f"image{number:04d}", names)
            files = {kind: _inside(folder, f"{name}_{kind}.png") for kind in kinds}
            for kind, path in files.items():
                if path.resolve() in inputs:
                    raise PredictionError(f"a picture would replace the input {path}: choose another output folder")
                prediction.save(path, kind, alpha=alpha)
            bar.advance(1)
            records.append({**prediction.to_dict(), "files": {kind: str(path) for kind, path in files.items()}})
    if failures:
        raise UnreadableImagesError(_failure_message(failures, len(records), folder), records)
    return records


def _free_name(name: str, taken: set[str]) -> str:
    """Return `name`, or `name-2`, `name-3`… when it is taken, and mark it as taken."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free)
    return free


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise PredictionError(f"the image name {name!r} leads out of the folder {folder}")
    return path


def _failure_message(failures: Sequence[str], written: int, folder: Path) -> str:
    others = f" (the others are in {folder})" if written else ""
    more = f"\n… and {len(failures) - _MAX_LISTED} more" if len(failures) > _MAX_LISTED else ""
    listed = "\n".join(failures[:_MAX_LISTED])
    return f"{len(failures)} of {written + len(failures)} images could not be read{others}:\n{listed}{more}"
