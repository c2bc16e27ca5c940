"""Prediction on a Ray cluster: a callable class for Ray Data, and shards as tasks (the [ray] extra).

import ray
import vitrail.ray

images = ray.data.read_binary_files("s3://bucket/photos/", include_paths=True)
images.map_batches(
    vitrail.ray.Predictor, fn_constructor_args=("fastscnn_camvid",), batch_size=16,
    compute=ray.data.ActorPoolStrategy(size=8), num_gpus=1,
).write_parquet("s3://bucket/masks/")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from vitrail.datasets.image_files import decode_image
from vitrail.errors import PredictionError, VitrailError
from vitrail.files.output_folder import open_output_folder
from vitrail.files.remote import remote_address
from vitrail.inference.files import OutputKind, UnreadableImagesError, predict_files
from vitrail.inference.output_files import Existing
from vitrail.inference.predictor import Predictor as ImagePredictor
from vitrail.inference.predictor import PredictorOptions
from vitrail.inference.run_length_table import run_length_columns, run_length_row
from vitrail.inference.shards import Shard
from vitrail.inference.sources import Frame
from vitrail.runtime.host_memory import keep_freed_memory

if TYPE_CHECKING:
    import pyarrow as pa

SHARDS_PER_SLOT = 4  # so that what a lost machine was at is a small part


class Predictor:
    """Segments batches of a Ray dataset: one in each actor of `map_batches`.

    A batch has a column "bytes" of image files, as `ray.data.read_binary_files` gives, or "image" of pixels, uint8
    [H, W, 3], as `ray.data.read_images` does. The result has all other columns, and "height", "width" and "segments",
    as in the rows of `RunLengthTable`; "error" says why an image could not be read, and is empty for others.

    Parameters
    ----------
    model : str or Path
        As in `vitrail.Predictor`, on every machine.
    **options
        The keyword arguments of `vitrail.Predictor`.
    """

    def __init__(self, model: str | Path, **options: Unpack[PredictorOptions]) -> None:
        self._predictor = ImagePredictor(model, **options)

    def __call__(self, batch: Mapping[str, Any]) -> pa.Table:
        """Return the table for a batch of columns.

        Raises
        ------
        PredictionError
            When it has no column of images.
        """
        import pyarrow as pa

        if "bytes" not in batch and "image" not in batch:
            raise PredictionError(
                f"the batch has the columns {', '.join(batch)}: it should have 'bytes' (read_binary_files) or 'image' "
                "(read_images)"
            )
        column = "bytes" if "bytes" in batch else "image"
        frames = [self._frame(value, str(index)) for index, value in enumerate(batch[column])]
        errors: dict[str, str] = {}
        found = self._predictor(frames, on_error=lambda name, error: errors.update({name: str(error)}))
        rows = {prediction.id: run_length_row(prediction) for prediction in found}
        ordered = [rows.get(frame.id, {}) for frame in frames]
        kept = {name: pa.array(list(values)) for name, values in batch.items() if name not in (column, "id")}
        types = run_length_columns()
        new = {
            name: pa.array([row.get(name) for row in ordered], types[name]) for name in ("height", "width", "segments")
        }
        return pa.table({**kept, **new, "error": pa.array([errors.get(frame.id, "") for frame in frames])})

    def _frame(self, value: Any, name: str) -> Frame:
        if not isinstance(value, bytes):
            return Frame.of_pixels(np.asarray(value), id=name)

        def read() -> Tensor:
            return torch.as_tensor(decode_image(value, f"image {name} of the batch", self._predictor.pixel_format))

        return Frame(name, read, lambda wanted: read())


class RayResult(NamedTuple):
    """What a prediction on a cluster did.

    Attributes
    ----------
    predicted, skipped : int
        Numbers of images that were segmented, and whose results were there.
    failures : tuple of str
        For each shard with images that could not be read, what `predict_files` says of them.
    """

    predicted: int
    skipped: int
    failures: tuple[str, ...]


def predict_files_on_ray(
    address: str,
    model: str | Path,
    images: Sequence[str],
    output_dir: str | Path,
    *,
    kinds: Sequence[OutputKind] = ("overlay",),
    alpha: float = 0.5,
    existing: Existing = "refuse",
    failures: str | Path | None = None,
    readers: int = 0,
    writers: int | None = None,
    shards: int | None = None,
    **options: Unpack[PredictorOptions],
) -> RayResult:
    """Segment images on a Ray cluster: each task is a shard of `predict_files`, on a GPU where there are any.

    A task whose machine is lost is run again elsewhere, where it goes on with the images that have no results yet. All
    machines see the images, `output_dir` and the folder of `failures` at the same paths, or at addresses in object
    storage, for which they have credentials of their own.

    Parameters
    ----------
    address : str
        Of the cluster, as `ray.init` takes it: "auto", "ray://host:10001", or "local" for this machine.
    model, images, output_dir, kinds, alpha, failures, readers, writers
        As in `predict_files`; names and paths only.
    existing : {"refuse", "skip"}
        "refuse" wants a folder without files, or one that is not there.
    shards : int, optional
        Number of tasks; None is four for each GPU, or for each CPU without GPUs.
    **options
        The keyword arguments of `vitrail.Predictor`.

    Raises
    ------
    PredictionError
        Without Ray, when the folder holds something, and what `predict_files` raises.
    """
    ray = _import_ray()
    folder = open_output_folder(output_dir)
    if existing == "overwrite":
        raise PredictionError("on a cluster results are kept or refused: give --skip-existing, or empty the folder")
    if existing == "refuse" and folder.names():
        raise PredictionError(
            f"{folder.locate()} holds something already: --skip-existing (existing='skip') goes on with it"
        )
    started = not ray.is_initialized()
    if started:
        ray.init(address=address, log_to_driver=False)
    try:
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        count = shards or SHARDS_PER_SLOT * max(gpus or int(resources.get("CPU", 1)), 1)
        task = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0, max_retries=-1)(_predict_shard)
        given = (
            model,
            list(images),
            _everywhere(output_dir),
            tuple(kinds),
            alpha,
            failures and _everywhere(failures),
            readers,
            writers,
            options,
        )
        results = ray.get([task.remote(Shard(index, count), *given) for index in range(count)])
    except VitrailError as error:  # Ray's own subclass, with the traceback of the other machine in its message
        raise getattr(error, "cause", error) from None
    finally:
        if started:
            ray.shutdown()
    return RayResult(
        sum(result.predicted for result in results),
        sum(result.skipped for result in results),
        tuple(message for result in results for message in result.failures),
    )


def _predict_shard(
    shard: Shard,
    model: str | Path,
    images: Sequence[str],
    folder: str,
    kinds: Sequence[OutputKind],
    alpha: float,
    failures: str | Path | None,
    readers: int,
    writers: int | None,
    options: PredictorOptions,
) -> RayResult:
    """Segment one shard, in a task."""
    keep_freed_memory()
    counts = {False: 0, True: 0}

    def count(record: Mapping[str, Any]) -> None:
        counts[bool(record.get("skipped"))] += 1

    messages: tuple[str, ...] = ()
    try:
        predict_files(
            model,
            list(images),
            folder,
            kinds=kinds,
            alpha=alpha,
            existing="skip",  # what an earlier attempt of this task has done
            shard=shard,
            failures=failures,
            readers=readers,
            writers=writers,
            on_record=count,
            **options,
        )
    except UnreadableImagesError as error:
        messages = (str(error),)
    return RayResult(counts[False], counts[True], messages)


def _everywhere(path: str | Path) -> str:
    """Return an address as it is, and a path so that it does not depend on the folder in which a task runs."""
    located = open_output_folder(path).locate()
    return remote_address(located) or str(Path(located).resolve())


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise PredictionError("a cluster needs Ray: pip install 'vitrail[ray]'") from error
    return ray
