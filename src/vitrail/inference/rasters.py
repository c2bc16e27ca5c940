"""Images of any size, read, segmented and written window by window in bounded memory.

The image is divided into blocks. For each, all sliding windows that touch it are computed, so that the result is that
of windows over the whole image: blocks leave no seams. Finished blocks are kept on the disk, and an interrupted
prediction goes on with the next one.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from typing_extensions import Unpack

from vitrail.checkpoints.state import weights_digest
from vitrail.errors import ModelError, PredictionError
from vitrail.files.atomic import atomic_path
from vitrail.files.home import expand_home
from vitrail.files.output_folder import OutputFolder, open_output_folder
from vitrail.files.remote import RemoteStore, remote_address
from vitrail.inference.large_images import in_windows
from vitrail.inference.output_files import Existing, refuse_taken
from vitrail.inference.predictor import Predictor, PredictorOptions, as_predictor
from vitrail.inference.raster_files import Box, open_raster, read_window, write_raster, write_regions
from vitrail.inference.shards import Shard
from vitrail.inference.sliding import window_starts
from vitrail.recipes import EvalConfig
from vitrail.runtime.progress_bar import ProgressBar
from vitrail.segmentors import Segmentor
from vitrail.visualize import class_counts

BLOCK = 8192  # pixels of a side, about
WINDOW = 1024


def predict_rasters(
    model: Predictor | Segmentor | str | Path,
    images: Sequence[str | Path],
    output_dir: str | Path,
    *,
    regions: bool = False,
    existing: Existing = "refuse",
    shard: Shard | None = None,
    block: int = BLOCK,
    on_record: Callable[[dict[str, Any]], None] | None = None,
    **options: Unpack[PredictorOptions],
) -> list[dict[str, Any]]:
    """Segment images that do not fit into memory, such as GeoTIFF files, COG and whole slides.

    Parameters
    ----------
    model
        As in `predict`.
    images : sequence of path
        Files, or addresses in object storage, of which single windows are then read. Of a pyramid it is the level of
        full resolution.
    output_dir : path
        A folder, or an address in object storage, to which files are uploaded when they are whole. Gets
        `<name>_index.tif`: class indices as a tiled TIFF with overviews, the image's coordinate reference system and
        transform, and the classes' colours.
    regions : bool
        Also write `<name>_regions.geojson`: the regions of all classes as polygons, cut at the borders of blocks.
    existing : {"refuse", "overwrite", "skip"}
        What happens to results that exist; as in `predict_files`. Finished blocks of an interrupted prediction with the
        same model and settings are always used; they are kept beside the results.
    shard : Shard, optional
        As in `predict_files`.
    block : int
        Height and width of a block in pixels, about; memory grows with its square, by some 20 bytes.
    on_record : callable, optional
        Gets the record of each image when it is finished.
    **options
        The keyword arguments of `vitrail.Predictor`; none with a predictor.

    Returns
    -------
    list of dict
        For each image "id", "height", "width", "areas" and "files", or "skipped": True, as in `predict_files`.

    Raises
    ------
    PredictionError
        When an image cannot be read by windows, has no 8-bit values while the recipe has no `data.value_range`, or when
        settings depend on the whole image: a test-time resize, or several scales.
    """
    folder = open_output_folder(output_dir)
    shard = Shard.of_process() if shard is None else shard
    names = _names(images)
    chosen = [(str(image), name) for image, name in zip(images, names, strict=True) if shard.holds(name)]
    files = {name: _files(name, regions) for _, name in chosen}
    if existing == "refuse":
        refuse_taken(folder, [file for own in files.values() for file in own.values() if folder.taken(file)])
    predictor = as_predictor(model, options)
    records: list[dict[str, Any]] = []
    for where, name in chosen:
        as_text = {kind: folder.locate(file) for kind, file in files[name].items()}
        if existing == "skip" and all(map(folder.is_written, files[name].values())):
            record: dict[str, Any] = {"id": name, "skipped": True, "files": as_text}
        else:
            record = {**_predict_one(predictor, where, name, folder, files[name], block), "files": as_text}
        (on_record or records.append)(record)
    return records


def _names(images: Sequence[str | Path]) -> list[str]:
    names = [PurePosixPath(str(image)).stem for image in images]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise PredictionError(f"two images are called {twice!r}: predict them into different folders")
    return names


def _files(name: str, regions: bool) -> dict[str, str]:
    found = {"index": f"{name}_index.tif"}
    return {**found, "regions": f"{name}_regions.geojson"} if regions else found


def _predict_one(
    predictor: Predictor, where: str, name: str, folder: OutputFolder, files: dict[str, str], block: int
) -> dict[str, Any]:
    card = predictor.model.card
    if card is None:
        raise ModelError("the model has no card, so its classes are unknown: set model.card to a vitrail.ModelCard")
    settings = _settings(predictor)
    with open_raster(where) as raster:
        if raster.dtypes[0] != "uint8" and predictor.pixel_format.value_range is None:
            raise PredictionError(
                f"{where} has values of {raster.dtypes[0]}, and windows of it cannot tell its range: say which values "
                "are black and white, as in --set data.value_range=[0,3000]"
            )
        blocks = _Blocks(predictor, settings, raster, where, block)
        parts = folder.subfolder(f".{name}-{blocks.identity()}.parts")
        counts = np.zeros(len(card.classes), np.int64)
        with ProgressBar(name, total=len(blocks.boxes)) as bar:
            for box in blocks.boxes:
                counts += np.array(class_counts(blocks.finished(box, parts), len(card.classes)))
                bar.advance(1)

        def kept() -> Iterator[tuple[Box, np.ndarray]]:
            return ((box, blocks.finished(box, parts)) for box in blocks.boxes)

        with folder.writing(files["index"]) as path:
            write_raster(path, raster, kept(), card.palette)
        if "regions" in files:
            with folder.writing(files["regions"]) as path:
                write_regions(path, raster, kept(), card.classes, card.palette)
        height, width = raster.shape
    folder.remove_subfolders(f".{glob.escape(name)}-*.parts")
    areas = [
        {"index": index, "name": card.classes[index], "pixels": int(count), "share": int(count) / (height * width)}
        for index, count in enumerate(counts)
        if count
    ]
    areas.sort(key=lambda area: -area["pixels"])
    return {"id": name, "height": height, "width": width, "areas": areas}


def _settings(predictor: Predictor) -> EvalConfig:
    """Return the settings with windows, which must not depend on the size of the image."""
    settings = predictor.settings
    if predictor.resizes:
        raise PredictionError(
            "the recipe resizes images before they are segmented, and one that is read by windows keeps its size: "
            "leave that out with --set data.eval_resize=null"
        )
    if tuple(settings.scales) != (1.0,):
        raise PredictionError(
            f"an image that is read by windows has one scale, not {list(settings.scales)}: --set evaluation.scales=[1]"
        )
    return settings if settings.mode == "slide" else in_windows(settings, WINDOW)


class _Blocks:
    """The blocks of an image, and their class indices.

    Parameters
    ----------
    predictor : Predictor
        Segments windows.
    settings : EvalConfig
        With the sizes of the windows.
    raster : rasterio dataset
        The image.
    where : str
        Its name for messages.
    side : int
        Of a block, about: it becomes a multiple of the step between windows, so that fewest windows touch two blocks.
    """

    def __init__(self, predictor: Predictor, settings: EvalConfig, raster: Any, where: str, side: int) -> None:
        if settings.window is None or settings.stride is None:
            raise PredictionError("sliding windows need evaluation.window and evaluation.stride")
        self._predictor, self._settings, self._raster, self._where = predictor, settings, raster, where
        self._window, self._stride = settings.window, settings.stride
        steps = [max(side // stride, 1) * stride for stride in settings.stride]
        height, width = raster.shape
        self.boxes = [
            Box(top, left, min(top + steps[0], height), min(left + steps[1], width))
            for top in range(0, height, steps[0])
            for left in range(0, width, steps[1])
        ]

    def finished(self, box: Box, folder: OutputFolder) -> np.ndarray:
        """Return the class indices of a block [H, W]: as kept in a folder, or else computed, and kept."""
        name = f"{box.top}-{box.left}.bin"
        shape = (box.bottom - box.top, box.right - box.left)
        dtype = np.uint8 if self._predictor.model.num_classes <= 255 else np.uint16
        if folder.is_written(name):
            with contextlib.suppress(PredictionError, zlib.error, ValueError):
                return np.frombuffer(zlib.decompress(folder.read(name)), dtype).reshape(shape)
        mask = self._computed(box).astype(dtype, copy=False)
        with folder.writing(name) as path, atomic_path(path, durable=False) as temporary:
            temporary.write_bytes(zlib.compress(mask.tobytes(), 1))
        return mask

    def _computed(self, box: Box) -> np.ndarray:
        top, bottom = _touching(box.top, box.bottom, self._raster.height, self._window[0], self._stride[0])
        left, right = _touching(box.left, box.right, self._raster.width, self._window[1], self._stride[1])
        values = read_window(self._raster, Box(top, left, bottom, right), self._where)
        pixels = torch.from_numpy(self._predictor.pixel_format.convert(values, self._where))
        del values
        (mask,) = self._predictor.segment([pixels], settings=self._settings)
        return mask[box.top - top : box.bottom - top, box.left - left : box.right - left].cpu().numpy()

    def identity(self) -> str:
        """Return a hash of everything that the class indices depend on."""
        raster = self._raster
        address = remote_address(self._where)
        if address:
            stamp: Sequence[object] = RemoteStore(address).find("") or ()
        else:
            found = expand_home(self._where).stat()
            stamp = [found.st_size, found.st_mtime_ns]
        described = {
            "image": [address or os.path.abspath(self._where), *stamp, raster.shape, raster.dtypes],  # noqa: PTH100
            "settings": self._settings.model_dump(mode="json"),
            "pixels": [self._predictor.pixel_format.channels, self._predictor.pixel_format.value_range],
            "blocks": self.boxes[:2],
            "amp": self._predictor.amp,
            "weights": weights_digest(self._predictor.model),
        }
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]


def _touching(start: int, end: int, length: int, window: int, stride: int) -> tuple[int, int]:
    """Return where the windows begin and end that touch the positions start … end - 1 of an axis."""
    starts = [first for first in window_starts(length, window, stride) if first < end and first + window > start]
    return starts[0], min(starts[-1] + window, length)
