"""Masks of many images as rows of Parquet files: COCO run lengths of every class, one row per image."""

from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING, Any

from vitrail.datasets.formats.parquet import import_parquet
from vitrail.errors import DatasetError, PredictionError
from vitrail.files.atomic import atomic_path
from vitrail.files.output_folder import OutputFolder
from vitrail.inference.output_files import Existing
from vitrail.inference.prediction import Prediction
from vitrail.inference.shards import Shard

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ROWS = 10_000  # of one file
MAX_BYTES = 64 << 20  # of the run lengths in one file
MAX_SECONDS = 300.0  # that finished rows wait for others of their file


class RunLengthTable:
    """Rows of run lengths in a folder of Parquet files, each of which is written whole or not at all.

    A row has "id" (the image's name), "height", "width" and "segments": a list with "category_id", "category",
    "counts" (compressed run lengths as in COCO's result files, of the size [height, width]), "area", "bbox" (x, y,
    width, height) and "score" (the mean probability, or null) for every class in the image. The metadata of the schema
    have "classes" and "palette" as JSON.

    Parameters
    ----------
    folder : OutputFolder
        Where the files are: of all shards, "00002-of-00008-000000.parquet" is the first one of the third of eight.
    shard : Shard
        The shard of this process.
    existing : {"refuse", "overwrite", "skip"}
        What happens to files of this shard that are there. "skip" goes on after them, also where the images were
        divided into another number of shards.

    Raises
    ------
    PredictionError
        Without pyarrow; when there are files that may not be replaced, or that cannot be read.
    """

    def __init__(self, folder: OutputFolder, shard: Shard, existing: Existing) -> None:
        try:
            import_parquet()
        except DatasetError as error:
            raise PredictionError(str(error)) from error
        self.folder, self._shard = folder, shard
        files = [name for name in folder.names() if name.endswith(".parquet") and "/" not in name]
        own = [file for file in files if file.startswith(f"{shard}-")]
        foreign = [file for file in files if f"-of-{shard.count:05d}-" not in file]
        if existing != "skip" and (foreign or (own and existing == "refuse")):
            replace = "" if foreign else ", --overwrite (existing='overwrite') replaces it"
            raise PredictionError(
                f"{folder.locate((foreign or own)[0])} exists: --skip-existing (existing='skip') keeps it and goes on "
                f"with the rest{replace}; or remove the folder"
            )
        if existing == "overwrite":
            folder.remove(own)
        self._done = {name for file in files for name in _ids(folder, file)} if existing == "skip" else set()
        self._next = 1 + max((int(file.removesuffix(".parquet").rpartition("-")[2]) for file in own), default=-1)
        self._rows: list[dict[str, Any]] = []
        self._bytes, self._since = 0, time.monotonic()
        self._schema: pa.Schema | None = None

    def has(self, name: str) -> bool:
        """Return whether the row of an image was written by an earlier prediction."""
        return name in self._done

    def add(self, prediction: Prediction) -> None:
        """Add the row of an image, unless it is there already."""
        if prediction.id in self._done:
            return
        row = run_length_row(prediction)
        if not self._rows:
            self._since = time.monotonic()
        self._rows.append(row)
        self._bytes += sum(len(segment["counts"]) for segment in row["segments"])
        self._schema = self._schema or _schema(prediction)
        if len(self._rows) >= MAX_ROWS or self._bytes >= MAX_BYTES or time.monotonic() - self._since > MAX_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that have been added since the last file.

        Raises
        ------
        PredictionError
            When the file cannot be written; the rows are kept.
        """
        if not self._rows:
            return
        import pyarrow as pa

        name = f"{self._shard}-{self._next:06d}.parquet"
        try:
            with self.folder.writing(name) as path, atomic_path(path) as temporary:
                table = pa.Table.from_pylist(self._rows, schema=self._schema)
                import_parquet().write_table(table, temporary, compression="zstd")
        except OSError as error:
            raise PredictionError(f"cannot write {self.folder.locate(name)}: {error}") from error
        self._next += 1
        self._rows, self._bytes = [], 0


def run_length_row(prediction: Prediction) -> dict[str, Any]:
    """Return the row of an image."""
    height, width = prediction.mask.shape
    segments = [
        {
            "category_id": annotation["category_id"],
            "category": annotation["category"],
            "counts": annotation["segmentation"]["counts"],
            "area": annotation["area"],
            "bbox": annotation["bbox"],
            "score": annotation.get("score"),
        }
        for annotation in prediction.to_coco()
    ]
    return {"id": prediction.id, "height": height, "width": width, "segments": segments}


def _schema(prediction: Prediction) -> pa.Schema:
    import pyarrow as pa

    described = {"classes": json.dumps(prediction.classes), "palette": json.dumps(prediction.palette)}
    return pa.schema(run_length_columns(), metadata=described)


def run_length_columns() -> dict[str, Any]:
    """Return the columns of a row with their Arrow types."""
    import pyarrow as pa

    segment = pa.struct(
        {
            "category_id": pa.int32(),
            "category": pa.string(),
            "counts": pa.string(),
            "area": pa.int64(),
            "bbox": pa.list_(pa.int32(), 4),
            "score": pa.float32(),
        }
    )
    return {"id": pa.string(), "height": pa.int32(), "width": pa.int32(), "segments": pa.list_(segment)}


def _ids(folder: OutputFolder, file: str) -> list[str]:
    """Return the names of the images in a file."""
    import pyarrow as pa

    try:
        read = import_parquet().read_table(io.BytesIO(folder.read(file)), columns=["id"])
        names: list[str] = read.column("id").to_pylist()
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        where = folder.locate(file)
        raise PredictionError(f"{where} is none of this table: {error}. Remove it, or choose another folder") from error
    return names
