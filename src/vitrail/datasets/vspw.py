"""VSPW: video scene parsing, 124 classes; the release at full size and that of 480 lines have the same layout.

The split "train_videos" is that of SSSegmentation's recipes: one frame of every training video, drawn anew each time.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision import tv_tensors

from vitrail.datasets.benchmark import Benchmark, Split
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.files import PairedFiles, benchmark_files
from vitrail.datasets.pixel_format import PixelFormat
from vitrail.datasets.voc import voc_colour
from vitrail.labels import IGNORE

_CLASSES = (
    "wall",
    "ceiling",
    "door",
    "stair",
    "ladder",
    "escalator",
    "Playground_slide",
    "handrail_or_fence",
    "window",
    "rail",
    "goal",
    "pillar",
    "pole",
    "floor",
    "ground",
    "grass",
    "sand",
    "athletic_field",
    "road",
    "path",
    "crosswalk",
    "building",
    "house",
    "bridge",
    "tower",
    "windmill",
    "well_or_well_lid",
    "other_construction",
    "sky",
    "mountain",
    "stone",
    "wood",
    "ice",
    "snowfield",
    "grandstand",
    "sea",
    "river",
    "lake",
    "waterfall",
    "water",
    "billboard_or_Bulletin_Board",
    "sculpture",
    "pipeline",
    "flag",
    "parasol_or_umbrella",
    "cushion_or_carpet",
    "tent",
    "roadblock",
    "car",
    "bus",
    "truck",
    "bicycle",
    "motorcycle",
    "wheeled_machine",
    "ship_or_boat",
    "raft",
    "airplane",
    "tyre",
    "traffic_light",
    "lamp",
    "person",
    "cat",
    "dog",
    "horse",
    "cattle",
    "other_animal",
    "tree",
    "flower",
    "other_plant",
    "toy",
    "ball_net",
    "backboard",
    "skateboard",
    "bat",
    "ball",
    "cupboard_or_showcase_or_storage_rack",
    "box",
    "traveling_case_or_trolley_case",
    "basket",
    "bag_or_package",
    "trash_can",
    "cage",
    "plate",
    "tub_or_bowl_or_pot",
    "bottle_or_cup",
    "barrel",
    "fishbowl",
    "bed",
    "pillow",
    "table_or_desk",
    "chair_or_seat",
    "bench",
    "sofa",
    "shelf",
    "bathtub",
    "gun",
    "commode",
    "roaster",
    "other_machine",
    "refrigerator",
    "washing_machine",
    "Microwave_oven",
    "fan",
    "curtain",
    "textiles",
    "clothes",
    "painting_or_poster",
    "mirror",
    "flower_pot_or_vase",
    "clock",
    "book",
    "tool",
    "blackboard",
    "tissue",
    "screen_or_television",
    "computer",
    "printer",
    "Mobile_phone",
    "keyboard",
    "other_electronic_product",
    "fruit",
    "food",
    "instrument",
    "train",
)
_UNLABELLED = (0, 254, IGNORE)


def _split(name: str) -> Split:
    return Split("data/{folder}/origin/{id}.jpg", "data/{folder}/mask/{id}.png", ids=f"{name}.txt")


VSPW = Benchmark(
    name="vspw",
    title="VSPW",
    classes=_CLASSES,
    palette=tuple(voc_colour(index) for index in range(len(_CLASSES))),  # as SSSegmentation: it has none of its own
    splits={
        "train": _split("train"),
        "train_videos": _split("train"),
        "val": _split("val"),
        "trainval": ("train", "val"),
        "test": Split("data/{folder}/origin/{id}.jpg", None, ids="test.txt"),
    },
    labels={**dict.fromkeys(_UNLABELLED, IGNORE), **{index + 1: index for index in range(len(_CLASSES))}},
    citation="Miao et al.: VSPW: a large-scale dataset for video scene parsing in the wild, CVPR 2021",
)


class OneFrameOfEachVideo:
    """One frame of each video, drawn from torch's random state whenever it is loaded.

    Parameters
    ----------
    frames : PairedFiles
        All frames, whose ids are "video/frame".
    """

    def __init__(self, frames: PairedFiles) -> None:
        self.frames = frames
        self.videos: dict[str, list[int]] = {}
        for index, frame in enumerate(frames.ids):
            self.videos.setdefault(frame.rpartition("/")[0], []).append(index)
        self.ids = list(self.videos)

    @property
    def pixels(self) -> PixelFormat:
        """The channels and the range of values of the images."""
        return self.frames.pixels

    @pixels.setter
    def pixels(self, pixels: PixelFormat) -> None:
        self.frames.pixels = pixels

    def load(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Return image, uint8 [C, H, W], and mask, uint8 [H, W]."""
        frames = self.videos[self.ids[index]]
        return self.frames.load(frames[int(torch.randint(len(frames), ()))])


@register_dataset("vspw", benchmark=VSPW, remote=True)
def vspw(root: Path | None, split: str) -> tuple[Benchmark, PairedFiles | OneFrameOfEachVideo]:
    """VSPW in its official layout.

    Parameters
    ----------
    root : Path
        The folder or archive, VSPW or VSPW_480p.
    split : str
        "train_videos" has one frame of each video, the others have all.
    """
    frames = benchmark_files(VSPW, root, split)
    return VSPW, OneFrameOfEachVideo(frames) if split == "train_videos" else frames
