"""Writing any dataset in the format of COCO."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vitrail.datasets.dataset import SegmentationDataset, create_dataset
from vitrail.datasets.formats.coco import REST_IS_IGNORED
from vitrail.datasets.write import empty_folder, write_image
from vitrail.errors import DatasetError
from vitrail.files.printable import printable
from vitrail.labels import ignore_index


def write_coco(
    name: str, root: str | Path | None, splits: Sequence[str], output_dir: str | Path, *,
    options: dict[str, Any] | None = None,
) -> dict[str, int]:  # fmt: skip
    """Write splits of a dataset as COCO: images/<split>/<id>.png and annotations/<split>.json.

    Each class in an image is one annotation with an uncompressed run-length encoding, crowds in COCO's words. Ignored
    pixels have none; the file says so, and the dataset "coco" ignores them again.

    Parameters
    ----------
    name, root, splits, options
        As in `vitrail.datasets.write.write_dataset`.
    output_dir : path
        The folder; a new or an empty one.

    Returns
    -------
    dict
        The number of images written, by split.

    Raises
    ------
    DatasetError
        When the dataset is unusable, or `output_dir` is not empty or cannot be written.
    """
    folder = empty_folder(output_dir)
    opened = {split: create_dataset(name, root, split, **(options or {})) for split in splits}
    try:
        for split, dataset in opened.items():
            _write_split(dataset, split, folder)
    except OSError as error:
        raise DatasetError(f"cannot write the dataset to {folder}: {error}") from error
    return {split: len(dataset) for split, dataset in opened.items()}


def _write_split(dataset: SegmentationDataset, split: str, folder: Path) -> None:
    classes = dataset.benchmark.classes
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in tqdm(range(len(dataset)), desc=printable(f"write {split}"), unit="img", disable=None, leave=False):
        sample = dataset[index]
        write_image(sample, folder / "images" / split / f"{sample['id']}.png", folder)
        mask = sample["mask"].numpy()
        images.append(
            {"id": index + 1, "file_name": f"{sample['id']}.png", "height": mask.shape[0], "width": mask.shape[1]}
        )
        for value in np.unique(mask[mask != ignore_index(len(classes))]).tolist():
            region = mask == value
            rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
            box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": value + 1,
                    "iscrowd": 1,
                    "area": int(region.sum()),
                    "bbox": [int(side) for side in box],
                    "segmentation": {"size": list(mask.shape), "counts": run_lengths(region)},
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
    path = folder / "annotations" / f"{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    info = {"description": REST_IS_IGNORED}
    path.write_text(json.dumps({"info": info, "images": images, "annotations": annotations, "categories": categories}))


def run_lengths(region: np.ndarray) -> list[int]:
    """Return a boolean mask [H, W] as the lengths of its runs, column by column, starting with zeros."""
    flat = np.concatenate([[False], region.ravel(order="F"), [not region[-1, -1]]])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], ends])).tolist()
