"""Writing any dataset as a plain folder of images and masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from vitrail.datasets.dataset import SegmentationDataset, create_dataset
from vitrail.errors import DatasetError
from vitrail.files.outputs import check_local
from vitrail.files.printable import printable
from vitrail.files.yaml_file import dump_yaml
from vitrail.visualize import index_mask


def write_dataset(
    name: str,
    root: str | Path | None,
    splits: Sequence[str],
    output_dir: str | Path,
    *,
    limit: int | None = None,
    options: dict[str, Any] | None = None,
) -> dict[str, int]:
    """Write splits of a dataset to a folder that the dataset "folder" reads.

    Images go to `images/<split>/<id>.png`, masks of class indices in the classes' colours to `masks/<split>/<id>.png`,
    names and colours to `classes.yaml`.

    Parameters
    ----------
    name, root, options
        As in `vitrail.datasets.check.check_dataset`.
    splits : sequence of str
        Names of the splits.
    output_dir : path
        The folder; a new or an empty one.
    limit : int, optional
        The largest number of images of each split to write.

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
            _write_split(dataset, split, folder, limit)
        benchmark = next(iter(opened.values())).benchmark
        described = {"classes": list(benchmark.classes), "palette": [list(colour) for colour in benchmark.palette]}
        (folder / "classes.yaml").write_text(dump_yaml(described), encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"cannot write the dataset to {folder}: {error}") from error
    return {split: len(dataset) if limit is None else min(limit, len(dataset)) for split, dataset in opened.items()}


def _write_split(dataset: SegmentationDataset, split: str, folder: Path, limit: int | None) -> None:
    count = len(dataset) if limit is None else min(limit, len(dataset))
    for index in tqdm(range(count), desc=printable(f"write {split}"), unit="img", disable=None, leave=False):
        sample = dataset[index]
        image = folder / "images" / split / f"{sample['id']}.png"
        mask = folder / "masks" / split / f"{sample['id']}.png"
        write_image(sample, image, folder)
        mask.parent.mkdir(parents=True, exist_ok=True)
        index_mask(sample["mask"], dataset.benchmark.palette).save(mask)


def empty_folder(path: str | Path) -> Path:
    """Return a folder to write a dataset to, or raise a DatasetError when something is there."""
    folder = Path(path)
    check_local(folder, DatasetError)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder} is not an empty folder: choose another one to write to")
    return folder


def write_image(sample: dict[str, Any], path: Path, folder: Path) -> None:
    """Write the image of a sample; a DatasetError when its id leads out of the folder of the dataset."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DatasetError(f"image id {sample['id']!r} leads out of the folder {folder}")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sample["image"].permute(1, 2, 0).numpy()).save(path)
