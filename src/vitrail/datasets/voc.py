"""PASCAL VOC 2012 segmentation, with the extra annotations of Hariharan et al. as the split "trainaug"."""

from __future__ import annotations

from vitrail.datasets.benchmark import Benchmark, Split, Submission
from vitrail.datasets.dataset import register_benchmark

_IMAGES = "JPEGImages/{id}.jpg"
_MASKS = "SegmentationClass/{id}.png"
_LISTS = "ImageSets/Segmentation"


def voc_colour(index: int) -> tuple[int, int, int]:
    """Return the development kit's colour of a class: its bits, from the lowest, go in turn to red, green and blue."""
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
    return channels[0], channels[1], channels[2]


_CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

VOC = register_benchmark(
    Benchmark(
        name="voc",
        title="PASCAL VOC 2012",
        classes=_CLASSES,
        palette=tuple(voc_colour(index) for index in range(len(_CLASSES))),
        splits={
            "train": Split(_IMAGES, _MASKS, ids=f"{_LISTS}/train.txt"),
            "val": Split(_IMAGES, _MASKS, ids=f"{_LISTS}/val.txt"),
            "trainval": Split(_IMAGES, _MASKS, ids=f"{_LISTS}/trainval.txt"),
            # trainaug.txt and the folder come with the extra annotations, which are a download of their own
            "test": Split(_IMAGES, None, ids=f"{_LISTS}/test.txt"),  # a download of its own too
            "trainaug": Split(_IMAGES, "SegmentationClassAug/{id}.png", ids=f"{_LISTS}/trainaug.txt"),
        },
        citation=(
            "Everingham et al.: The PASCAL visual object classes challenge: a retrospective, IJCV 111, 2015; "
            "Hariharan et al.: Semantic contours from inverse detectors, ICCV 2011"
        ),
        submission=Submission("results/VOC2012/Segmentation/comp6_test_cls/{id}.png", palette=True),
    )
)
