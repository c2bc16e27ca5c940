"""Masks are those that MMSegmentation loads from the same official files, after its own converters where it has any."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import types
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.official_layouts import WRITERS
from PIL import Image

from parity.references import require_mmseg, require_ssseg
from vitrail.checkpoints.sources.mmseg.datasets import DATASETS as MMSEG
from vitrail.datasets import benchmarks, create_dataset
from vitrail.datasets.pixel_format import PixelFormat

pytestmark = pytest.mark.parity

TILE, OVERLAP = 16, 4  # the images of these tests have 24 × 32 pixels


@dataclass(frozen=True)
class Theirs:
    """Where MMSegmentation finds a split.

    Attributes
    ----------
    type : str
        The class of its dataset.
    images, masks : str
        Folders below the root.
    convert : callable, optional
        Makes these folders of the official files.
    options : dict
        Further arguments of the class.
    ours : dict
        The options of our dataset.
    split : str
        Ours.
    """

    type: str
    images: str
    masks: str
    convert: Callable[[Path], None] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    ours: dict[str, Any] = field(default_factory=dict)
    split: str = "train"


def converter(name: str) -> Any:
    import mmseg

    path = Path(mmseg.__file__).parent / f".mim/tools/dataset_converters/{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cityscapes(root: Path) -> None:
    """Write the labels for training by the table of the package cityscapesScripts."""
    labels = pytest.importorskip("cityscapesscripts.helpers.labels")
    table = np.full(256, 255, np.uint8)
    for label in labels.labels:
        if label.id >= 0:
            table[label.id] = label.trainId
    for path in (root / "gtFine").rglob("*_labelIds.png"):
        with Image.open(path) as image:
            Image.fromarray(table[np.asarray(image)]).save(str(path).replace("_labelIds", "_labelTrainIds"))


def coco_stuff(root: Path) -> None:
    (root / "out/train2017").mkdir(parents=True)
    for path in (root / "train2017").glob("*.png"):
        converter("coco_stuff164k").convert_to_trainID(str(path), str(root / "out"), is_train=True)


def coco_stuff_10k(root: Path) -> None:
    for folder in ("images", "masks"):
        (root / "out" / folder / "train2014").mkdir(parents=True)
    train, _ = converter("coco_stuff10k").generate_coco_list(str(root))
    for names in train:
        converter("coco_stuff10k").convert_to_trainID(
            names, root / "images", root / "annotations", root / "out/images", root / "out/masks", is_train=True
        )


def isaid(root: Path) -> None:
    module = converter("isaid")
    # Without a palette, PNG files of mode P have one bit a pixel with a current Pillow.
    module.Image = types.SimpleNamespace(open=Image.open, fromarray=lambda values, mode=None: Image.fromarray(values))
    for folder in ("img_dir/train", "ann_dir/train"):
        (root / folder).mkdir(parents=True)
    for path in (root / "train/images").rglob("*.png"):
        module.slide_crop_image(str(path), str(root), "train", TILE, TILE, OVERLAP)
    for path in (root / "train").rglob("*_instance_color_RGB.png"):
        module.slide_crop_label(str(path), str(root), "train", TILE, TILE, OVERLAP)


def clip(name: str, images: str, masks: str, **options: Any) -> Callable[[Path], None]:
    """Cut images and masks by a converter's function clip_big_image."""

    def convert(root: Path) -> None:
        module = converter(name)
        if name == "vaihingen":  # it reads the arguments that its main program leaves behind
            module.args = argparse.Namespace(clip_size=TILE, stride_size=TILE // 2)
        for kind, pattern in (("img", images), ("ann", masks)):
            (root / kind).mkdir()
            for path in root.glob(pattern):
                module.clip_big_image(str(path), str(root / kind), to_label=kind == "ann", **options)

    return convert


ARGUMENTS = argparse.Namespace(clip_size=TILE, stride_size=TILE // 2)


def refuge(root: Path) -> None:
    for kind, folder in (("images", "REFUGE-Validation400"), ("annotations", "REFUGE-Validation400-GT")):
        (root / "out" / kind / "validation").mkdir(parents=True)
        with zipfile.ZipFile(root / f"{folder}.zip", "w") as archive:
            for path in (root / folder).rglob("V*"):
                archive.write(path, path.relative_to(root))
        converter("refuge").extract_img(
            str(root / "unpacked" / kind), str(root / f"{folder}.zip"), str(root / "out"), "validation", kind
        )


def synapse(root: Path) -> None:
    """Run the converter's main program on the validation volumes and no others."""
    (root / "train.txt").write_text("")
    (root / "val.txt").write_text("".join(f"img{case}.nii.gz\n" for case in benchmarks()["synapse"].splits["val"].ids))
    before, sys.argv = sys.argv, ["synapse", "--dataset-path", str(root), "--save-path", str(root / "out")]
    try:
        converter("synapse").main()
    finally:
        sys.argv = before


PATHS = {"images": "images/training", "masks": "annotations/training"}
TILED = {"tile_size": TILE}
CASES = {
    "ade20k": Theirs("ADE20KDataset", **PATHS),
    "bdd100k": Theirs("BDD100KDataset", "images/10k/train", "labels/sem_seg/masks/train"),
    "chase_db1": Theirs("ChaseDB1Dataset", **PATHS),
    "cityscapes": Theirs("CityscapesDataset", "leftImg8bit/train", "gtFine/train", cityscapes),
    "coco_stuff": Theirs("COCOStuffDataset", "train2017", "out/train2017", coco_stuff),
    "coco_stuff_10k_171": Theirs(
        "COCOStuffDataset", "out/images/train2014", "out/masks/train2014", coco_stuff_10k, {"reduce_zero_label": True}
    ),
    "dark_zurich": Theirs("DarkZurichDataset", "rgb_anon/val", "gt/val", split="val"),
    "drive": Theirs("DRIVEDataset", **PATHS),
    "hrf": Theirs("HRFDataset", **PATHS),
    "isaid": Theirs("iSAIDDataset", "img_dir/train", "ann_dir/train", isaid, ours={**TILED, "tile_overlap": OVERLAP}),
    "levir_cd": Theirs(
        "LEVIRCDDataset", "img", "ann", clip("levircd", "train/[AB]/*.png", "train/label/*.png", args=ARGUMENTS),
        ours=TILED,
    ),
    "lip": Theirs("LIPDataset", "TrainVal_images/train_images", "TrainVal_parsing_annotations/train_segmentations"),
    "loveda": Theirs("LoveDADataset", "Train/Urban/images_png", "Train/Urban/masks_png", split="train_urban"),
    "mapillary_v1": Theirs("MapillaryDataset_v1", "training/images", "training/v1.2/labels"),
    "mapillary_v2": Theirs("MapillaryDataset_v2", "training/images", "training/v2.0/labels"),
    "nighttime_driving": Theirs(
        "NightDrivingDataset", "leftImg8bit/test/night", "gtCoarse_daytime_trainvaltest/test/night", split="val"
    ),
    "pascal_context": Theirs("PascalContextDataset", "JPEGImages", "SegmentationClassContext"),
    "pascal_context_59": Theirs("PascalContextDataset59", "JPEGImages", "SegmentationClassContext"),
    "potsdam": Theirs(
        "PotsdamDataset", "img", "ann", clip("potsdam", "2_Ortho_RGB/*", "5_Labels/*", args=ARGUMENTS), ours=TILED
    ),
    "refuge": Theirs("REFUGEDataset", "out/images/validation", "out/annotations/validation", refuge, split="val"),
    "stare": Theirs("STAREDataset", **PATHS),
    "synapse": Theirs("SynapseDataset", "out/img_dir/val", "out/ann_dir/val", synapse, split="val"),
    "vaihingen": Theirs("ISPRSDataset", "img", "ann", clip("vaihingen", "top/*", "*_noBoundary.tif"), ours=TILED),
    "voc": Theirs("PascalVOCDataset", "JPEGImages", "SegmentationClass"),
}  # fmt: skip
LISTS = {
    "voc": "ImageSets/Segmentation/train.txt",
    "pascal_context": "ImageSets/SegmentationContext/train.txt",
    "pascal_context_59": "ImageSets/SegmentationContext/train.txt",
}


def their_masks(case: Theirs, root: Path, listing: str | None) -> dict[str, np.ndarray]:
    """Return the masks by the name of the image's file."""
    import mmseg.datasets
    from mmcv.transforms import Compose
    from mmseg.datasets.transforms import LoadAnnotations

    prefix = {"img_path": case.images, "seg_map_path": case.masks}
    options = {**case.options, "ann_file": listing} if listing else case.options
    if case.type == "LEVIRCDDataset":
        prefix["img_path2"] = case.images
    dataset = getattr(mmseg.datasets, case.type)(data_root=str(root), data_prefix=prefix, pipeline=[], **options)
    found = {}
    for index in range(len(dataset)):
        data = Compose([LoadAnnotations()])(dataset.get_data_info(index))
        found[Path(data["img_path"]).stem] = data["gt_seg_map"]
    return found


def test_objects_of_coco_are_drawn_as_in_ssseg(tmp_path: Path) -> None:
    require_ssseg()
    from ssseg.modules.datasets.coco import COCOVOCSUBDataset

    WRITERS["voc_coco"](tmp_path)
    theirs = COCOVOCSUBDataset("TRAIN", None, {"type": "x", "rootdir": str(tmp_path / "COCO"), "set": "train"})
    ours = create_dataset("voc_coco", tmp_path, "train")
    drawn = {int(ours.ids[index]): np.asarray(ours[index]["mask"]) for index in (2, 3)}
    assert {int(number) for number in theirs.imageids} == set(drawn)
    for index in range(len(theirs)):
        sample = theirs[index]
        assert np.array_equal(drawn[int(sample["id"])], sample["seg_target"])


def our_name(name: str, image_id: str) -> str:
    """Return what MMSegmentation calls our image."""
    last = image_id.rpartition("/")[2]
    if name == "isaid":
        stem, left, top, right, bottom = last.rsplit("_", 4)
        return f"{stem}_{top}_{bottom}_{left}_{right}"
    ending = {"cityscapes": "_leftImg8bit", "nighttime_driving": "_leftImg8bit", "dark_zurich": "_rgb_anon"}
    return ("area" if name == "vaihingen" else "") + last + ending.get(name, "")


def test_every_dataset_that_both_know_is_compared() -> None:
    assert {case.type for case in CASES.values()} == set(MMSEG)


@pytest.mark.parametrize("name", CASES)
def test_masks_are_those_that_mmseg_loads(name: str, tmp_path: Path) -> None:
    require_mmseg()
    case = CASES[name]
    WRITERS[name](tmp_path)
    if case.convert is not None:
        case.convert(tmp_path)
    theirs = their_masks(case, tmp_path, LISTS.get(name))
    # what is converted lies beside the official files, where ours would find some of it twice
    official = tmp_path / "official"
    WRITERS[name](official)
    pixels = PixelFormat(6 if name == "levir_cd" else 3)
    dataset = create_dataset(name, official, case.split, pixels=pixels, **case.ours)
    ours = {our_name(name, image_id): np.asarray(dataset[index]["mask"]) for index, image_id in enumerate(dataset.ids)}
    if name == "potsdam" or name == "vaihingen":  # converted are all images, of training and validation
        theirs = {key: mask for key, mask in theirs.items() if key in ours}
    assert set(ours) == set(theirs) and ours
    for key, mask in theirs.items():
        if name == "mapillary_v1":
            mask = np.where(mask == 65, 255, mask)  # a class to it, which its models do not answer
        assert np.array_equal(ours[key], mask), key
