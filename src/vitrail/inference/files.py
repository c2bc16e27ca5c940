"""Segment images and write the results to a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from vitrail.errors import PredictionError, VitrailError
from vitrail.inference.output_files import Existing, OutputFrames, is_written
from vitrail.inference.prediction import Kind
from vitrail.inference.predictor import Predictor, PredictorOptions, as_predictor
from vitrail.inference.sources import Pictures, open_frames
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
    existing: Existing = "refuse",
    **options: Unpack[PredictorOptions],
) -> list[dict[str, Any]]:
    """Segment images and write pictures; one batch of images at a time is in memory.

    Parameters
    ----------
    model, images
        As in `predict`.
    output_dir : path
        The folder for the pictures, `<name of the image>_<kind>.png`. An image whose name is taken by another one of
        this call gets a number appended; a name that is too long for an ending is shortened.
    kinds : sequence of {"overlay", "colour", "index"}
        Which pictures; see `Prediction.save`.
    alpha : float
        Opacity of the colours in overlays.
    existing : {"refuse", "overwrite", "skip"}
        What happens when a picture exists: an error before anything is computed; it is replaced; or it stays, and
        images that have all their pictures are left out, so that an interrupted prediction goes on. A picture is
        written whole or not at all.
    **options
        The keyword arguments of `vitrail.Predictor`; none with a predictor.

    Returns
    -------
    list of dict
        For each image its name, size, the area of every class in it, and the files: JSON-ready data. For one that was
        left out only the name, the files, and "skipped": True.

    Raises
    ------
    UnreadableImagesError
        At the end, when images could not be read: it names them, and the pictures of all others are there.
    VitrailError
        When model, recipe or images cannot be found, where pictures exist, and where one would replace an image.
    """
    folder = Path(output_dir)
    failures: list[str] = []
    records: list[dict[str, Any]] = []

    def note_failure(name: str, error: VitrailError) -> None:
        failures.append(str(error))

    def note_skipped(name: str) -> None:
        records.append({"id": name, "skipped": True, "files": _as_text(frames.files(name))})
        bar.advance(1)

    frames = OutputFrames(open_frames(images), folder, kinds, existing, note_skipped)
    predictions = as_predictor(model, options)(frames, on_error=note_failure)
    with ProgressBar("predict", total=frames.num_frames) as bar:
        for prediction in predictions:
            files = frames.files(prediction.id)
            for kind, path in files.items():
                if existing != "skip" or not is_written(path):
                    prediction.save(path, kind, alpha=alpha)
            records.append({**prediction.to_dict(), "files": _as_text(files)})
            bar.advance(1)
    if failures:
        raise UnreadableImagesError(_failure_message(failures, len(records), folder), records)
    return records


def _as_text(files: Mapping[Kind, Path]) -> dict[str, str]:
    return {kind: str(path) for kind, path in files.items()}


def _failure_message(failures: Sequence[str], written: int, folder: Path) -> str:
    others = f" (the others are in {folder})" if written else ""
    more = f"\n… and {len(failures) - _MAX_LISTED} more" if len(failures) > _MAX_LISTED else ""
    listed = "\n".join(failures[:_MAX_LISTED])
    return f"{len(failures)} of {written + len(failures)} images could not be read{others}:\n{listed}{more}"
