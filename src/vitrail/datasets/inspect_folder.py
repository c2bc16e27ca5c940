"""Saying what a folder of images and labels is, and how to train on it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from vitrail.datasets.benchmark import Split
from vitrail.datasets.class_file import has_class_file
from vitrail.datasets.dataset import SegmentationDataset, benchmarks, create_dataset
from vitrail.datasets.folder_names import folders_hint, usual_folders
from vitrail.datasets.formats.hugging_face import hub_address
from vitrail.datasets.formats.recognise import recognise_format
from vitrail.datasets.open_files import ARCHIVES, open_place
from vitrail.datasets.pairs import fixed_folder
from vitrail.errors import DatasetError
from vitrail.files.home import expand_home

_NO_MASKS = ("labels", "annotations")  # names of folders that hold other labels than masks, too
_DESCRIBED = ("yolo", "lightly")  # formats in which a file says what the values in folders of masks are


@dataclass(frozen=True)
class Inspection:
    """What a folder is.

    Attributes
    ----------
    dataset : str
        The name of the dataset that reads it.
    found : str
        What was found.
    splits : dict
        Number of images by split, for the splits that training needs.
    classes : tuple of str
        Names of the classes.
    problem : str
        Why it cannot be opened yet; empty when it can.
    root : str
        The folder, or the name on the hub.
    """

    dataset: str
    found: str
    splits: dict[str, int]
    classes: tuple[str, ...]
    problem: str
    root: str

    @property
    def command(self) -> str:
        """The command that trains on it."""
        name = "" if self.dataset == "folder" else f" data.dataset={self.dataset}"
        return f"vitrail train fastscnn_folder{name} --data-root {shlex.quote(self.root)} -o runs/first"

    def __str__(self) -> str:
        """Return it as a few lines."""
        lines = [f"{self.root}: {self.found}"]
        if self.problem:
            return "\n".join([*lines, f"It cannot be read yet: {self.problem}"])
        lines += [f"{split}: {count} images" for split, count in self.splits.items()]
        lines += [f"{len(self.classes)} classes: {', '.join(self.classes)}", "", "Train on it:", f"  {self.command}"]
        check = f"vitrail dataset check {self.dataset} --root {shlex.quote(self.root)}"
        return "\n".join([*lines, "Check it first:", f"  {check}"])


def inspect_folder(root: str | Path) -> Inspection:
    """Find out what a folder of images and labels is.

    Raises
    ------
    DatasetError
        When nothing in it is known.
    """
    root = expand_home(root)
    if not root.is_dir() and hub_address(root) is None and not (root.is_file() and root.suffix.lower() in ARCHIVES):
        raise DatasetError(f"{root} is no folder: give the one with the images and their labels, or hf://ORG/NAME")
    dataset, found = _recognise(root)
    place = hub_address(root) or str(root)
    try:
        opened = {split: create_dataset(dataset, root, split) for split in ("train", "val")}
    except DatasetError as error:
        return Inspection(dataset, found, {}, (), str(error), place)
    counts = {split: len(each) for split, each in opened.items()}
    return Inspection(dataset, found, counts, _classes(opened["train"]), "", place)


def _classes(dataset: SegmentationDataset) -> tuple[str, ...]:
    return tuple(dataset.benchmark.classes)


def _recognise(root: Path) -> tuple[str, str]:
    if root.is_file():
        return _in_archive(root)
    other = recognise_format(root)
    if other is not None and not root.is_dir():
        return other.dataset, other.found
    usual = usual_folders(root)
    known = _benchmark(root)
    if known is not None and not (usual and has_class_file(root)):  # own classes in a benchmark's layout
        return known
    if other is not None and (usual is None or usual[1] in _NO_MASKS or other.dataset in _DESCRIBED):
        return other.dataset, other.found
    if usual is not None:
        return "folder", f"images in {usual[0]}, masks in {usual[1]}"
    names = ", ".join(sorted(child.name for child in root.iterdir())[:10]) or "nothing"
    raise DatasetError(
        f"nothing in {root} is known: it holds {names}. Masks are expected in a folder 'masks' beside 'images', and "
        "annotations of COCO, labelme, CVAT, YOLO, LightlyTrain, Roboflow, Supervisely, Label Studio or Hugging Face "
        f"are recognised.{folders_hint(root)}"
    )


def _in_archive(root: Path) -> tuple[str, str]:
    usual = usual_folders(open_place(root, "a folder with images and masks")[1])
    if usual is None:
        raise DatasetError(f"{root} has no usual folders of images and masks: unpack it, and inspect the folder")
    return "folder", f"an archive with images in {usual[0]}, masks in {usual[1]}"


def _benchmark(root: Path) -> tuple[str, str] | None:
    """Return the benchmark whose folders of images and masks are all there, if there is one."""
    for name, benchmark in benchmarks().items():
        part = benchmark.splits.get("train", benchmark.splits.get("val"))
        if isinstance(part, Split) and part.masks:
            folders = [fixed_folder(part.images), fixed_folder(part.masks)]
            lists = [part.ids] if isinstance(part.ids, str) else []
            several = "{folder}" in part.images  # such as "data", which says too little
            if all(folders) and not several and all((root / path).exists() for path in (*folders, *lists)):
                return name, f"the layout of {benchmark.title}"
    return None
