"""Segment images and write the results to a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from typing_extensions import Unpack

from vitrail.errors import PredictionError
from vitrail.files.output_folder import open_output_folder
from vitrail.inference.failures import Failures
from vitrail.inference.output_files import Existing, OutputFrames
from vitrail.inference.parallel_writing import ParallelWriting
from vitrail.inference.prediction import Kind, Prediction
from vitrail.inference.predictor import Predictor, PredictorOptions, as_predictor
from vitrail.inference.run_length_table import RunLengthTable
from vitrail.inference.shards import Shard
from vitrail.inference.sources import ParallelReading, Pictures, open_frames
from vitrail.runtime.progress_bar import ProgressBar
from vitrail.segmentors import Segmentor

OutputKind: TypeAlias = "Kind | Literal['rle']"
OnError: TypeAlias = Literal["skip", "stop"]
RLE_FOLDER = "rle"


def default_writers(device: torch.device) -> int:
    """Return the number of threads that write beside a model on a device: none where it needs all of a small CPU."""
    return 0 if device.type == "cpu" and torch.get_num_threads() < 4 else 2


class UnreadableImagesError(PredictionError):
    """Some of the images could not be read; everything else was done.

    Attributes
    ----------
    records : list of dict
        What `predict_files` returns, for all other images.
    """

    exit_status = 3

    def __init__(self, message: str, records: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.records = records


def predict_files(
    model: Predictor | Segmentor | str | Path,
    images: Pictures,
    output_dir: str | Path,
    *,
    kinds: Sequence[OutputKind] = ("overlay",),
    alpha: float = 0.5,
    existing: Existing = "refuse",
    shard: Shard | None = None,
    on_error: OnError = "skip",
    failures: str | Path | None = None,
    readers: int = 0,
    writers: int | None = None,
    on_record: Callable[[dict[str, Any]], None] | None = None,
    **options: Unpack[PredictorOptions],
) -> list[dict[str, Any]]:
    """Segment images and write pictures and run lengths, in bounded memory.

    Parameters
    ----------
    model, images
        As in `predict`.
    output_dir : path
        The folder for the pictures, or an address in object storage such as "s3://bucket/masks".
        They are called `<name of the image>_<kind>.png`, .tif for GeoTIFF files. An image whose name is taken by
        another one of this call gets a number appended; a name that is too long for an ending is shortened.
    kinds : sequence of {"overlay", "colour", "index", "geotiff", "rle"}
        Which pictures, see `Prediction.save`; "rle" is a row of COCO run lengths in Parquet files in the folder `rle`,
        see `RunLengthTable`.
    alpha : float
        Opacity of the colours in overlays.
    existing : {"refuse", "overwrite", "skip"}
        What happens when a picture exists: an error before anything is computed; it is replaced; or it stays, and
        images that have all their pictures and their row are left out, so that an interrupted prediction goes on. A
        picture is written whole or not at all.
    shard : Shard, optional
        The part of the images to segment, by their names: together, all shards segment every image once. Any number of
        them may write to one folder. None takes the one of this process under `torchrun`, and all images without it.
    on_error : {"skip", "stop"}
        What happens when an image cannot be read: it is left out and named in an error at the end, or the error is
        raised at once.
    failures : path, optional
        A file for the list of images that were left out, see `Failures.write`; replaced when it exists. That of a shard
        has the shard's number in its name. An address is possible here too.
    readers : int
        Threads that read and decode images ahead of the model, in whose order results stay; three images for each are
        in memory. 0 reads each batch when its turn comes.
    writers : int, optional
        Threads that encode and write pictures while the model goes on; two predictions for each are in memory, but
        never several with more than 32 million pixels together. 0 writes the pictures of a batch before the next one.
        None is 2, but 0 for a model on a CPU with fewer than four threads, which it needs itself. After an error,
        pictures of the next few images may be there too.
    on_record : callable
        Gets the record of each image when its files are written. Nothing is returned then: for more images than fit
        into a list.
    **options
        The keyword arguments of `vitrail.Predictor`; none with a predictor.

    Returns
    -------
    list of dict
        For each image its name, size, the area of every class in it, and its pictures: JSON-ready data. For one that
        was left out only the name, the pictures, and "skipped": True.

    Raises
    ------
    UnreadableImagesError
        At the end, when images could not be read: it names them, and the pictures of all others are there.
    VitrailError
        When model, recipe or images cannot be found, where pictures exist, and where one would replace an image.
    """
    folder = open_output_folder(output_dir)
    shard = Shard.of_process() if shard is None else shard
    if on_error not in get_args(OnError):
        raise PredictionError(f"on_error is one of {', '.join(get_args(OnError))}, not {on_error!r}")
    pictures: list[Kind] = [kind for kind in kinds if kind != "rle"]
    table = RunLengthTable(folder.subfolder(RLE_FOLDER), shard, existing) if "rle" in kinds else None
    failed = Failures()
    listed = None if failures is None else shard.own_file(Path(failures))
    if listed:
        failed.check(listed, overwrite=existing == "overwrite")
    records: list[dict[str, Any]] = []
    keep = on_record or records.append
    done = 0

    def write(prediction: Prediction) -> tuple[Prediction, dict[str, Any]]:
        files = frames.files(prediction.id)
        for kind, file in files.items():
            if existing != "skip" or not folder.is_written(file):
                with folder.writing(file) as path:
                    prediction.save(path, kind, alpha=alpha)
        return prediction, {**prediction.to_dict(), "files": where(files)}

    def finish_written(written: tuple[Prediction, dict[str, Any]]) -> None:
        prediction, record = written
        if table:
            table.add(prediction)
        finish(record)

    def finish(record: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        bar.advance(1)
        keep(record)

    def where(files: Mapping[Kind, str]) -> dict[str, str]:
        return {kind: folder.locate(file) for kind, file in files.items()}

    def note_skipped(name: str) -> None:
        finish({"id": name, "skipped": True, "files": where(frames.files(name))})

    has_row = table.has if table else lambda name: True
    frames = OutputFrames(open_frames(images), folder, pictures, existing, note_skipped, shard, has_row)
    predictor = as_predictor(model, options)
    if writers is None:
        writers = default_writers(predictor.device)
    source = ParallelReading(frames, predictor.pixel_format, readers) if readers else frames
    with ProgressBar("predict", total=frames.num_frames) as bar:
        try:
            with ParallelWriting(write, finish_written, writers) as writing:
                for prediction in predictor(source, on_error=failed.add if on_error == "skip" else None):
                    writing.add(prediction)
        finally:
            if table:
                table.flush()
            if listed:
                failed.write(listed)
    if failed.count:
        raise UnreadableImagesError(failed.message(done, folder.locate(), listed), records)
    return records
