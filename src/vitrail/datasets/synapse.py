"""Synapse multi-organ: eight organs in slices of computed tomography, in the order and greys of TransUNet.

Read from the volumes of the download (Abdomen, RawData.zip). The splits are TransUNet's, as everywhere. Volumes need
`pip install 'vitrail[data]'`.
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
from vitrail.datasets.nifti import read_volume, volume_shape
from vitrail.datasets.pixel_format import RGB, PixelFormat
from vitrail.errors import DatasetError

_CLASSES: dict[str, tuple[int, int, int]] = {
    "background": (0, 0, 0),
    "aorta": (0, 0, 255),
    "gallbladder": (0, 255, 0),
    "left_kidney": (255, 0, 0),
    "right_kidney": (0, 255, 255),
    "liver": (255, 0, 255),
    "pancreas": (255, 255, 0),
    "spleen": (60, 255, 255),
    "stomach": (240, 240, 240),
}
# The download's label of each class after the background; its other organs are background.
_LABELS = (8, 4, 3, 2, 6, 11, 1, 7)
_LARGEST_LABEL = 13
_DARK, _BRIGHT = -125, 275  # Hounsfield units that become 0 and 255
_TRAIN = "0005 0006 0007 0009 0010 0021 0023 0024 0026 0027 0028 0030 0031 0033 0034 0037 0039 0040"
_VAL = "0001 0002 0003 0004 0008 0022 0025 0029 0032 0035 0036 0038"


def _split(cases: str) -> Split:
    return Split("img/img{id}.nii.gz", "label/label{id}.nii.gz", ids=tuple(cases.split()))


SYNAPSE = Benchmark(
    name="synapse",
    title="Synapse multi-organ",
    classes=tuple(_CLASSES),
    palette=tuple(_CLASSES.values()),
    splits={"train": _split(_TRAIN), "val": _split(_VAL), "trainval": ("train", "val")},
    citation=(
        "Landman et al.: Multi-atlas labeling beyond the cranial vault, MICCAI 2015 challenge; "
        "Chen et al.: TransUNet: transformers make strong encoders for medical image segmentation, arXiv:2102.04306"
    ),
)


class Slices:
    """The slices of volumes; the last volume stays decoded, so that its slices in their order decode it once.

    Parameters
    ----------
    volumes : PairedFiles
        Volumes of greys and of labels.
    """

    def __init__(self, volumes: PairedFiles) -> None:
        self.files = volumes.files
        self.volumes = volumes.pairs
        self.pixels: PixelFormat = RGB
        self.places = [
            (case, depth)
            for case, pair in enumerate(self.volumes)
            for depth in range(volume_shape(self.files, pair.image)[-1])
        ]
        self.ids = [f"case{self.volumes[case].id}_slice{depth:03d}" for case, depth in self.places]
        self._last: tuple[int, npt.NDArray[Any], npt.NDArray[Any]] | None = None

    def load(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Return image, uint8 [C, H, W], and mask, uint8 [H, W]."""
        case, depth = self.places[index]
        last = self._last
        if last is None or last[0] != case:
            last = self._last = (case, *self._read(case))
        greys, labels = (np.ascontiguousarray(volume[:, ::-1, depth]) for volume in last[1:])
        image = self.pixels.convert(greys, self.files.locate(self.volumes[case].image))
        return tv_tensors.Image(torch.from_numpy(image)), tv_tensors.Mask(torch.from_numpy(labels))

    def _read(self, case: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return greys and class indices of a volume, uint8 [X, Y, Z]."""
        pair = self.volumes[case]
        image, labels = (read_volume(self.files, name) for name in (pair.image, pair.mask))
        if image.shape != labels.shape:
            raise DatasetError(
                f"{self.files.locate(pair.mask)} has the shape {list(labels.shape)}, but its image {list(image.shape)}"
            )
        if labels.min() < 0 or labels.max() > _LARGEST_LABEL:
            raise DatasetError(f"{self.files.locate(pair.mask)} holds labels beyond 0 to {_LARGEST_LABEL}")
        table = np.zeros(_LARGEST_LABEL + 1, np.uint8)
        table[list(_LABELS)] = range(1, len(_CLASSES))
        shares = (np.clip(image.astype(np.float64), _DARK, _BRIGHT) - _DARK) / (_BRIGHT - _DARK)
        return (shares * 255).astype(np.uint8), table[labels.astype(np.int64)]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}


@register_dataset("synapse", benchmark=SYNAPSE, remote=True)
def synapse(root: Path | None, split: str) -> tuple[Benchmark, Slices]:
    """Slices of the volumes of Synapse.

    Parameters
    ----------
    root : Path
        The folder with img and label, such as RawData/Training, or one above it.
    split : str
        "train", "val" or "trainval".
    """
    return SYNAPSE, Slices(benchmark_files(SYNAPSE, root, split))
