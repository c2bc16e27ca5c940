"""NYU Depth V2: rooms in forty classes (Gupta et al., CVPR 2013), from the labelled file or from a folder of pictures.

The labelled download, nyu_depth_v2_labeled.mat, has 894 kinds of objects; which of the forty classes each of them is
stands in classMapping40.mat of Gupta et al., and which images are for training in splits.mat. Pixels without a label
are ignored. Needs `pip install 'vitrail[matlab]'`. A folder holds RGB, Label (0 for pixels without a label, then the
classes from 1), train.txt and test.txt, as most projects that train on it write it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchvision import tv_tensors

from vitrail.datasets.benchmark import Benchmark, Split
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.files import PairedFiles, benchmark_files
from vitrail.datasets.hdf5 import Hdf5Arrays
from vitrail.datasets.pixel_format import RGB, PixelFormat
from vitrail.errors import DatasetError, nearest
from vitrail.labels import IGNORE

_CLASSES: dict[str, tuple[int, int, int]] = {
    "wall": (174, 199, 232),
    "floor": (152, 223, 138),
    "cabinet": (31, 119, 180),
    "bed": (255, 187, 120),
    "chair": (188, 189, 34),
    "sofa": (140, 86, 75),
    "table": (255, 152, 150),
    "door": (214, 39, 40),
    "window": (197, 176, 213),
    "bookshelf": (148, 103, 189),
    "picture": (196, 156, 148),
    "counter": (23, 190, 207),
    "blinds": (178, 76, 76),
    "desk": (247, 182, 210),
    "shelves": (66, 188, 102),
    "curtain": (219, 219, 141),
    "dresser": (140, 57, 197),
    "pillow": (202, 185, 52),
    "mirror": (51, 176, 203),
    "floor_mat": (200, 54, 131),
    "clothes": (92, 193, 61),
    "ceiling": (78, 71, 183),
    "books": (172, 114, 82),
    "refrigerator": (255, 127, 14),
    "television": (91, 163, 138),
    "paper": (153, 98, 156),
    "towel": (140, 153, 101),
    "shower_curtain": (158, 218, 229),
    "box": (100, 125, 154),
    "whiteboard": (178, 127, 135),
    "person": (120, 185, 128),
    "night_stand": (146, 111, 194),
    "toilet": (44, 160, 44),
    "sink": (112, 128, 144),
    "lamp": (96, 207, 209),
    "bathtub": (227, 119, 194),
    "bag": (213, 92, 176),
    "other_structure": (94, 106, 211),
    "other_furniture": (82, 84, 163),
    "other_prop": (100, 85, 144),
}
_LABELLED, _MAPPING, _SPLITS = "nyu_depth_v2_labeled.mat", "classMapping40.mat", "splits.mat"
_INDICES = {"train": ("trainNdxs",), "val": ("testNdxs",), "trainval": ("trainNdxs", "testNdxs")}
_KINDS = 894


def _split(name: str) -> Split:
    return Split("RGB/{id}.jpg", "Label/{id}.png", ids=f"{name}.txt")


NYUV2 = Benchmark(
    name="nyuv2",
    title="NYU Depth V2",
    classes=tuple(_CLASSES),
    palette=tuple(_CLASSES.values()),
    splits={"train": _split("train"), "val": _split("test"), "trainval": ("train", "val")},
    labels={0: IGNORE, **{index + 1: index for index in range(len(_CLASSES))}, IGNORE: IGNORE},
    citation=(
        "Silberman et al.: Indoor segmentation and support inference from RGBD images, ECCV 2012; Gupta et al.: "
        "Perceptual organization and recognition of indoor scenes from RGB-D images, CVPR 2013"
    ),
)


class LabelledFile:
    """The images of one split of the labelled file.

    Parameters
    ----------
    folder : Path
        Where the three files are.
    split : str
        "train", "val" or "trainval".
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.pixels: PixelFormat = RGB
        self.classes = _class_of_kind(folder)
        # MATLAB's order of dimensions is the reverse
        shapes = {"images": (None, 3, None, None), "labels": (None, None, None)}
        self.arrays = Hdf5Arrays(folder / _LABELLED, shapes)
        count = self.arrays.length("images")
        chosen = [_matlab_numbers(folder / _SPLITS, name, 1, count) for name in _INDICES[split]]
        self.numbers = np.concatenate(chosen)
        self.ids = [str(number) for number in self.numbers]
        if self.arrays.length("labels") != count:
            raise DatasetError(f"{self.arrays.path} holds other numbers of images and of labels")

    def load(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Return image, uint8 [C, H, W], and mask, uint8 [H, W]."""
        number = int(self.numbers[index])
        where = f"image {number} of {self.arrays.path}"
        picture = np.ascontiguousarray(self.arrays.read("images", number - 1).transpose(2, 1, 0))  # [H, W, 3]
        kinds = self.arrays.read("labels", number - 1).T
        if kinds.shape != picture.shape[:2] or kinds.max(initial=0) > _KINDS:
            raise DatasetError(f"the labels of {where} are {list(kinds.shape)} up to {kinds.max(initial=0)}")
        image = self.pixels.convert(picture, where)
        return tv_tensors.Image(torch.from_numpy(image)), tv_tensors.Mask(torch.from_numpy(self.classes[kinds]))


@register_dataset("nyuv2", benchmark=NYUV2, remote=True)
def nyuv2(root: Path | None, split: str) -> tuple[Benchmark, PairedFiles | LabelledFile]:
    """NYU Depth V2 in forty classes.

    Parameters
    ----------
    root : Path
        The folder of nyu_depth_v2_labeled.mat, classMapping40.mat and splits.mat; or the folder or archive of RGB,
        Label, train.txt and test.txt.
    split : str
        "train" (795 images), "val" (the 654 of the test) or "trainval".
    """
    if root is None or not (Path(root) / _LABELLED).is_file():
        return NYUV2, benchmark_files(NYUV2, root, split)
    if split not in _INDICES:
        raise DatasetError(f"{NYUV2.title} has no split {split!r}.{nearest(split, _INDICES)}")
    return NYUV2, LabelledFile(Path(root), split)


def _class_of_kind(folder: Path) -> npt.NDArray[np.uint8]:
    """Return the class of each kind of object, uint8 [895]; those of no kind are ignored."""
    mapping = _matlab_numbers(folder / _MAPPING, "mapClass", 1, len(_CLASSES))
    if len(mapping) != _KINDS:
        raise DatasetError(
            f"{folder / _MAPPING}: mapClass has {len(mapping)} numbers, not one for each of {_KINDS} kinds"
        )
    return np.concatenate([[IGNORE], mapping - 1]).astype(np.uint8)


def _matlab_numbers(path: Path, name: str, low: int, high: int) -> npt.NDArray[np.int64]:
    """Return a list of integers, from `low` to `high`, in a MATLAB file."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DatasetError(f"reading {path} needs scipy: pip install 'vitrail[matlab]'") from error
    if not path.is_file():
        raise DatasetError(f"{path} is missing: {_LABELLED} needs {_MAPPING} and {_SPLITS} beside it")
    try:
        values: Any = np.asarray(loadmat(str(path), variable_names=[name])[name]).reshape(-1)
        numbers = values.astype(np.int64)
    except Exception as error:  # a damaged file makes scipy raise almost anything
        raise DatasetError(f"cannot read {name} of {path}: {error!r}; is the download complete?") from error
    if not len(numbers) or numbers.min() < low or numbers.max() > high or (numbers != values).any():
        raise DatasetError(f"{path}: {name} should hold integers from {low} to {high}")
    return numbers
