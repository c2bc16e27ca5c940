"""PASCAL VOC 2012 with more images for training: COCO's, whose objects of VOC's twenty classes are drawn as masks.

As in SSSegmentation, an image of COCO is taken where more than 1,000 pixels belong to these classes, and of objects
that lie on each other the one that is listed first counts. Masks need `pip install 'vitrail[data]'`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import tv_tensors
from tqdm import tqdm

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.files import PairedFiles, benchmark_files
from vitrail.datasets.formats.coco import CocoRegion, decode_region, import_coco_masks
from vitrail.datasets.image_files import decode_image
from vitrail.datasets.open_files import open_files
from vitrail.datasets.pairs import Pair
from vitrail.datasets.pixel_format import RGB, PixelFormat
from vitrail.datasets.sample_cache import CachedFiles
from vitrail.datasets.storage import Files
from vitrail.datasets.voc import VOC
from vitrail.errors import DatasetError
from vitrail.files.json_text import parse_json

# COCO's number of each class of VOC after the background.
_CATEGORIES = (5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
_LEAST_PIXELS = 1000
_IMAGES = "train2017"
_ANNOTATIONS = "annotations/instances_train2017.json"

VOC_COCO = replace(
    VOC,
    name="voc_coco",
    title="PASCAL VOC 2012 with COCO's objects",
    splits={"train": VOC.splits["trainaug"], "val": VOC.splits["val"]},
    citation=f"{VOC.citation}; Lin et al.: Microsoft COCO: common objects in context, ECCV 2014",
    submission=None,
    classes_of="voc",
)

Region = tuple[int, Any]  # class index, compressed run lengths


class DrawnObjects(CachedFiles):
    """Images of COCO, and masks drawn from the objects of VOC's classes.

    Parameters
    ----------
    files : Files
        COCO's folder.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self.pixels: PixelFormat = RGB
        where = files.locate(_ANNOTATIONS)
        try:
            data = parse_json(files.read(_ANNOTATIONS), where, DatasetError)
            self.images = list(_with_objects(data))
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{where} is no file of COCO's instances: {error!r}") from error
        self.ids = [Path(name).stem for name, _, _ in self.images]
        self.pairs = [Pair(Path(name).stem, f"{_IMAGES}/{name}", _ANNOTATIONS) for name, _, _ in self.images]

    def _decode(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        file, size, regions = self.images[index]
        name = f"{_IMAGES}/{file}"
        image = decode_image(self.files.read(name), self.files.locate(name), self.pixels)
        if tuple(image.shape[1:]) != size:
            raise DatasetError(
                f"{self.files.locate(name)} has {image.shape[1]} × {image.shape[2]} pixels, but "
                f"{_ANNOTATIONS} says {size[0]} × {size[1]}: is it the image of COCO?"
            )
        mask = np.zeros(size, np.uint8)
        for label, encoded in regions:
            mask[(mask == 0) & (decode_region(encoded) > 0)] = label
        return image, tv_tensors.Mask(torch.from_numpy(mask))


class Joined:
    """The images of several sources, one after the other."""

    def __init__(self, sources: Sequence[PairedFiles | DrawnObjects]) -> None:
        self.sources = list(sources)
        self.places = [(source, index) for source in self.sources for index in range(len(source.ids))]
        self.ids = [source.ids[index] for source, index in self.places]

    @property
    def pixels(self) -> PixelFormat:
        """The channels and the range of values of the images."""
        return self.sources[0].pixels

    @pixels.setter
    def pixels(self, pixels: PixelFormat) -> None:
        for source in self.sources:
            source.pixels = pixels

    def load(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Return image, uint8 [C, H, W], and mask, uint8 [H, W]."""
        source, own = self.places[index]
        return source.load(own)


@register_dataset("voc_coco", benchmark=VOC_COCO, remote=True)
def voc_coco(root: Path | None, split: str) -> tuple[Benchmark, PairedFiles | Joined]:
    """PASCAL VOC 2012 and the objects of its classes in COCO.

    Parameters
    ----------
    root : Path
        A folder with VOC2012 (or VOCdevkit) and with COCO's train2017 and annotations, or a folder that holds these.
    split : str
        "train" is VOC's trainaug and COCO's train2017; "val" is VOC's.
    """
    voc = benchmark_files(VOC_COCO, root, split)
    if split != "train" or root is None:
        return VOC_COCO, voc
    return VOC_COCO, Joined([voc, DrawnObjects(open_files(root, [_IMAGES, _ANNOTATIONS]))])


def _with_objects(data: dict[str, Any]) -> Iterator[tuple[str, tuple[int, int], list[Region]]]:
    """Yield file, size and objects of each image that shows enough of VOC's classes."""
    labels = {category: index + 1 for index, category in enumerate(_CATEGORIES)}
    by_image: dict[int, list[dict[str, Any]]] = {}
    for annotation in data["annotations"]:
        if annotation["category_id"] in labels:
            by_image.setdefault(annotation["image_id"], []).append(annotation)
    coco_masks = import_coco_masks()
    for image in tqdm(data["images"], desc="COCO's objects", unit="img", disable=None, leave=False):
        size = (image["height"], image["width"])
        regions: list[Region] = []
        for annotation in by_image.get(image["id"], ()):
            encoded = CocoRegion(annotation["segmentation"]).encode(*size)
            if encoded is not None:
                regions.append((labels[annotation["category_id"]], encoded))
        if regions and coco_masks.area(coco_masks.merge([encoded for _, encoded in regions])) > _LEAST_PIXELS:
            yield image["file_name"], size, regions
