"""The descriptions, and reading their official layouts from folders and archives."""

import multiprocessing
import pickle
import tarfile
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from helpers.image_makers import mask, picture, save
from helpers.official_layouts import TOPS, WRITERS, write_ade20k, write_camvid
from torch.utils.data import DataLoader

from vitrail.datasets import SampleKey, benchmarks, collate_eval, create_dataset, list_datasets, read_image, read_mask
from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.dataset import DATASETS
from vitrail.datasets.pixel_format import PixelFormat
from vitrail.datasets.recipe import open_split
from vitrail.errors import DatasetError
from vitrail.labels import IGNORE, MAX_CLASSES
from vitrail.recipes import load_recipe

EVALUATION_ONLY = {"dark_zurich", "nighttime_driving"}
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
        assert "val" in benchmark.splits
        assert ("train" in benchmark.splits) == (name not in EVALUATION_ONLY)


def test_the_numbers_of_classes_are_those_of_the_papers():
    counts = {
        "ade20k": 150,
        "atr": 18,
        "bdd100k": 19,
        "camvid": 11,
        "chase_db1": 2,
        "cihp": 20,
        "cityscapes": 19,
        "coco_stuff": 171,
        "coco_stuff_10k": 182,
        "coco_stuff_10k_171": 171,
        "coco_stuff_182": 182,
        "dark_zurich": 19,
        "drive": 2,
        "hrf": 2,
        "isaid": 16,
        "levir_cd": 2,
        "lip": 20,
        "loveda": 7,
        "mapillary_v1": 65,
        "mapillary_v2": 124,
        "mhp_v1": 19,
        "mhp_v2": 59,
        "nighttime_driving": 19,
        "pascal_context": 60,
        "pascal_context_59": 59,
        "potsdam": 6,
        "refuge": 3,
        "sbu_shadow": 2,
        "supervisely_person": 2,
        "nyuv2": 40,
        "synapse": 9,
        "vaihingen": 6,
        "scenes": 8,
        "stare": 2,
        "voc": 21,
        "voc_coco": 21,
        "vspw": 124,
    }
    assert {name: len(benchmarks()[name].classes) for name in counts} == counts


def test_lists_of_datasets_are_complete():
    assert set(list_datasets()) == set(DATASETS) > set(benchmarks())
    assert set(DATASETS) >= {"ade20k", "camvid", "folder", "scenes"}


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
    channels = 6 if name == "levir_cd" else 3
    dataset = create_dataset(name, where, "val" if name in EVALUATION_ONLY else "train", pixels=PixelFormat(channels))
    assert dataset.ids == ids
    for sample in [dataset[index] for index in range(min(3, len(dataset)))]:
        size = (48, 64) if sample["id"].startswith("0000000000") and name == "voc_coco" else (24, 32)
        assert sample["image"].shape == (channels, *size)
        assert sample["size"] == size == tuple(sample["mask"].shape)
        assert set(sample["mask"].unique().tolist()) <= {*range(len(dataset.benchmark.classes)), IGNORE}
    for split in benchmarks()[name].splits:
        if not (name == "camvid" and split == "test"):
            assert len(create_dataset(name, where, split, unlabelled=True)) > 0


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


def test_the_171_classes_of_coco_stuff_leave_out_what_nobody_labelled(tmp_path):
    WRITERS["coco_stuff"](tmp_path)
    names, benchmark = benchmarks()["coco_stuff_182"].classes, benchmarks()["coco_stuff"]
    meaning = {names[value]: index for value, index in benchmark.labels.items() if value != IGNORE}
    assert list(meaning) == list(benchmark.classes) and list(meaning.values()) == list(range(171))
    save(tmp_path / "train2017/000000000009.png", np.full((24, 32), names.index("hat"), np.uint8))
    assert "the value 25" in message(lambda: create_dataset("coco_stuff", tmp_path, "train")[0])


def test_a_frame_of_each_video_is_drawn_by_the_seed(tmp_path):
    WRITERS["vspw"](tmp_path)
    frames, videos = (create_dataset("vspw", tmp_path, split) for split in ("train", "train_videos"))
    assert videos.ids == ["127_-hIVCYO4C90", "100_9"]
    own = {frames[index]["image"].sum().item() for index in (0, 1)}
    drawn = [videos[SampleKey(0, seed)]["image"].sum().item() for seed in range(20)]
    assert set(drawn) == own and len(own) == 2
    assert drawn == [videos[SampleKey(0, seed)]["image"].sum().item() for seed in range(20)]
    (tmp_path / "train.txt").write_text("127_-hIVCYO4C90\nother\n")
    assert "1 of 2 folders" in message(lambda: create_dataset("vspw", tmp_path, "train"))


def test_two_images_of_a_place_become_one_of_six_channels(tmp_path):
    WRITERS["levir_cd"](tmp_path)
    assert "model.in_channels=6" in message(lambda: create_dataset("levir_cd", tmp_path, "val")[0])
    image = create_dataset("levir_cd", tmp_path, "val", pixels=PixelFormat(6))[0]["image"]
    for part, folder in zip(image.split(3), ("A", "B"), strict=True):
        assert np.array_equal(part, read_image(tmp_path / "val" / folder / "val_1.png"))
    save(tmp_path / "val/B/val_1.png", picture(32, 24))
    assert "one size" in message(lambda: create_dataset("levir_cd", tmp_path, "val", pixels=PixelFormat(6))[0])


def test_the_masks_of_several_people_lie_on_each_other(tmp_path):
    WRITERS["mhp_v1"](tmp_path)
    dataset = create_dataset("mhp_v1", tmp_path, "train")
    assert dataset.ids == ["1", "1_2"]
    for index, name in enumerate(dataset.ids):
        lower, upper = (read_mask(tmp_path / f"annotations/{name}_02_0{person}.png") for person in (1, 2))
        assert np.array_equal(dataset[index]["mask"], np.where(upper == 0, lower, upper))
        assert (lower != 0).any() and (upper != 0).any() and ((lower != 0) & (upper != 0)).any()
    for path in tmp_path.glob("annotations/1_2_*"):
        path.unlink()
    assert "1 of 2 images have no mask" in message(lambda: create_dataset("mhp_v1", tmp_path, "train"))


def test_of_objects_on_each_other_the_first_counts(tmp_path):
    WRITERS["voc_coco"](tmp_path)
    dataset = create_dataset("voc_coco", tmp_path, "train")
    labels = np.asarray(dataset[2]["mask"])  # a cat before a person
    assert labels[20, 40] == dataset.benchmark.classes.index("cat") and labels[30, 54] == 15 == labels[45, 4]
    assert labels[1, 10] == 0, "a stop sign is none of VOC's classes"
    crowd = np.asarray(dataset[3]["mask"]).T.ravel()  # column by column
    assert np.array_equal(crowd[:1600], 20 * ((np.arange(1600) >= 300) & (np.arange(1600) < 1500)))
    save(tmp_path / "COCO/train2017/000000000009.jpg", picture())
    assert "is it the image of COCO?" in message(lambda: dataset[2])
    (tmp_path / "COCO/annotations/instances_train2017.json").write_text("[]")
    assert "is no file of COCO's instances" in message(lambda: create_dataset("voc_coco", tmp_path, "train"))
    assert len(create_dataset("voc_coco", tmp_path, "val")) == 2


def test_slices_have_the_greys_and_organs_of_the_volume(tmp_path):
    WRITERS["synapse"](tmp_path)
    dataset = create_dataset("synapse", tmp_path, "val")
    paths = [tmp_path / f"{kind}/{kind}0001.nii.gz" for kind in ("img", "label")]
    greys, labels = (np.asarray(nibabel.load(path).dataobj)[:, ::-1, 1] for path in paths)
    sample = dataset[1]
    assert sample["id"] == "case0001_slice001"
    expected = ((np.clip(greys, -125, 275) + 125.0) / 400 * 255).astype(np.uint8)
    assert np.array_equal(sample["image"], np.stack([expected] * 3))
    spleen, other = dataset.benchmark.classes.index("spleen"), sample["mask"][torch.from_numpy(labels == 5)]
    assert np.array_equal(np.asarray(sample["mask"]) == spleen, labels == 1) and not other.any()
    assert (pickle.loads(pickle.dumps(dataset))[1]["mask"] == sample["mask"]).all()


def test_damaged_volumes_are_named(tmp_path):
    WRITERS["synapse"](tmp_path)
    path = tmp_path / "img/img0001.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((24, 30, 2), np.int16), np.eye(4)), path)
    assert "but its image [24, 30, 2]" in message(lambda: create_dataset("synapse", tmp_path, "val")[0])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "img0001.nii.gz" in message(lambda: create_dataset("synapse", tmp_path, "val")[0])
    path.write_bytes(b"nothing")
    assert "cannot read the volume" in message(lambda: create_dataset("synapse", tmp_path, "val"))
    path.unlink()
    assert "1 of 12 images are missing" in message(lambda: create_dataset("synapse", tmp_path, "val"))


def test_pixels_of_other_colours_are_ignored_or_errors(tmp_path):
    WRITERS["potsdam"](tmp_path)
    odd = np.full((24, 32, 3), (252, 255, 0), np.uint8)
    save(tmp_path / "5_Labels/top_potsdam_2_10_label_noBoundary.tif", odd)
    assert (create_dataset("potsdam", tmp_path, "train")[0]["mask"] == IGNORE).all()
    WRITERS["isaid"](tmp_path)
    save(tmp_path / "train/Semantic_masks/images/images/P0000_instance_color_RGB.png", odd)
    assert "(252, 255, 0)" in message(lambda: create_dataset("isaid", tmp_path, "train")[0])


def test_a_file_that_is_there_twice_is_named(tmp_path):
    WRITERS["isaid"](tmp_path)
    save(tmp_path / "train/other/P0000.png", picture())
    text = message(lambda: create_dataset("isaid", tmp_path, "train"))
    assert "are both P0000" in text and "other" in text


def test_a_recipe_is_evaluated_on_a_dataset_without_training_images(tmp_path):
    WRITERS["nighttime_driving"](tmp_path)
    recipe = load_recipe("fcn_resnet50os16_cityscapes", overrides=["data.dataset=nighttime_driving"])
    assert len(open_split(recipe.data, recipe.data.eval_split, root=tmp_path)) == 2
    text = message(lambda: open_split(recipe.data, recipe.data.train_split, root=tmp_path))
    assert "Nighttime Driving has no split 'train'" in text and "It has: val" in text


def test_masks_that_are_not_published_are_no_labels(tmp_path):
    WRITERS["bdd100k"](tmp_path)
    assert "--submission DIR" in message(lambda: create_dataset("bdd100k", tmp_path, "test"))
    sample = create_dataset("bdd100k", tmp_path, "test", unlabelled=True)[0]
    assert sample["mask"].shape == (24, 32) and (sample["mask"] == IGNORE).all()


def test_left_and_right_change_places_in_a_mirror():
    paired = {name for name, benchmark in benchmarks().items() if benchmark.flip_pairs}
    assert paired == {"lip", "cihp", "atr", "mhp_v1", "mhp_v2"}
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
    assert "unpack it, or pack it as" in message(lambda: create_dataset("ade20k", tmp_path / "x.tar.gz", "train"))
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
