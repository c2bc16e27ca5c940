"""More than 255 classes, from the file to the report: masks of 16 bits; 255 is a class and 65535 is ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import tiny_training as tiny
from PIL import Image
from torchvision import tv_tensors

import vitrail
from vitrail.datasets import create_dataset, read_mask
from vitrail.datasets.check import check_dataset
from vitrail.datasets.remap import remap_classes
from vitrail.datasets.write import write_dataset
from vitrail.datasets.write_coco import write_coco
from vitrail.errors import DatasetError
from vitrail.evaluation.boundary import BoundaryCounts
from vitrail.evaluation.confusion import ConfusionMatrix
from vitrail.losses import create_criterion, list_losses
from vitrail.losses.pixels import classes_present
from vitrail.recipes import AugmentConfig
from vitrail.segmentors import ModelCard
from vitrail.training import train
from vitrail.transforms import TrainTransform
from vitrail.transforms.augmentations import apply, create_augmentation
from vitrail.transforms.crop import is_varied
from vitrail.transforms.flip import HorizontalFlip
from vitrail.visualize import distinct_colours

CLASSES = 300
SIDE = 48


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)


def values() -> np.ndarray:
    """Every class in a mask of two strips of ignored pixels."""
    mask = (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) // 7 % CLASSES).astype(np.uint16)
    mask[:2] = 65535
    return mask


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of five images, for each class its own brightness."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    (folder / "classes.txt").write_text("\n".join(f"kind {index}" for index in range(CLASSES)))
    for index in range(5):
        mask = np.roll(values(), 5 * index, axis=1)
        grey = np.repeat((mask // 2).clip(0, 255).astype(np.uint8)[..., None], 3, 2)
        Image.fromarray(grey).save(folder / f"images/{index}.png")
        Image.fromarray(mask).save(folder / f"masks/{index}.png")
    return folder


def test_masks_are_int16_and_255_is_a_class(root: Path) -> None:
    dataset = create_dataset("folder", root, "all")
    mask = dataset[0]["mask"]
    assert mask.dtype == torch.int16
    assert np.array_equal(mask.numpy(), np.where(values() == 65535, -1, values().astype(np.int32)))
    assert np.array_equal(read_mask(root / "masks/0.png").numpy(), mask.numpy())
    (check,) = check_dataset("folder", root, ["all"]).checks
    counts = np.bincount(values()[values() < CLASSES], minlength=CLASSES)
    assert check.pixels == tuple(5 * counts) and check.ignored == 5 * 2 * SIDE


def test_a_value_that_is_no_class_is_named(root: Path) -> None:
    Image.fromarray(np.full((SIDE, SIDE), CLASSES, np.uint16)).save(root / "masks/0.png")
    with pytest.raises(DatasetError, match=r"0\.png holds the value 300.*0–299, 65535"):
        create_dataset("folder", root, "all")[0]


@pytest.mark.parametrize("count", [254, 255, 256])
def test_the_last_8_bit_class_and_what_is_ignored_stay_apart(tmp_path: Path, count: int) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.arange(256, dtype=np.uint16 if name == "masks" else np.uint8)[None]).save(
            tmp_path / f"{name}/a.png"
        )
    (tmp_path / "classes.yaml").write_text(
        f"classes: [{', '.join(f'c{index}' for index in range(count))}]\nignore: [{254 if count == 254 else 65000}]"
    )
    mask = create_dataset("folder", tmp_path, "all")[0]["mask"]
    assert mask.dtype == (torch.int16 if count > 255 else torch.uint8)
    assert mask[0].tolist() == [index if index < count else 255 for index in range(256)]


def test_classes_merge_into_few_and_the_written_dataset_is_the_same(root: Path, tmp_path: Path) -> None:
    dataset = create_dataset("folder", root, "all")
    few = remap_classes(dataset, {f"kind {index}": f"part {index % 3}" for index in range(CLASSES)})
    expected = np.where(values() == 65535, 255, values() % 3)
    assert few[0]["mask"].dtype == torch.uint8 and np.array_equal(few[0]["mask"].numpy(), expected)
    fewer = remap_classes(dataset, {"kind 255": None, "kind 7": "kind 6"})
    mask, old = fewer[0]["mask"].numpy(), values().astype(int)
    assert fewer.benchmark.classes[254:256] == ("kind 256", "kind 257")
    assert np.array_equal(mask == -1, (old == 65535) | (old == 255)) and (mask[old == 299] == 297).all()

    write_dataset("folder", root, ["all"], tmp_path / "copy")
    write_coco("folder", root, ["all"], tmp_path / "coco")
    copy = create_dataset("folder", tmp_path / "copy", "all")
    assert torch.equal(copy[3]["mask"], dataset[3]["mask"]) and copy.benchmark.classes == dataset.benchmark.classes
    coco = create_dataset("coco", tmp_path / "coco", "all")
    assert coco.benchmark.classes == dataset.benchmark.classes
    assert torch.equal(coco[3]["mask"], dataset[3]["mask"])


def test_augmentations_fill_with_what_is_ignored() -> None:
    mask = torch.from_numpy(values().astype(np.int32)).to(torch.int16)
    sample = {"image": tv_tensors.Image(torch.zeros(3, SIDE, SIDE).byte()), "mask": tv_tensors.Mask(mask)}
    config = AugmentConfig(crop=(64, 64), rotate=1.0, scale=(1.0, 1.0), max_class_share=0.75)
    torch.manual_seed(0)
    result = TrainTransform(config, fill=(1, 2, 3))(sample)["mask"]
    assert result.dtype == torch.int16 and result.shape == (64, 64)
    assert (result[SIDE:] == -1).all() and set(result.unique().tolist()) <= {-1, *range(CLASSES)}
    turn = create_augmentation("RandomRotation", {"degrees": [45, 45]}, (0, 0, 0))
    assert apply("RandomRotation", turn, sample["image"], mask)[1][0, 0] == -1
    mirrored = HorizontalFlip([(255, 256)])(sample["image"], torch.tensor([[255, -1, 299, 256]], dtype=torch.int16))[1]
    assert mirrored.tolist() == [[255, 299, -1, 256]]
    assert is_varied(mask, 0.75) and not is_varied(torch.full((4, 4), -1, dtype=torch.int16), 0.75)


@pytest.mark.parametrize("name", list_losses())
def test_losses_leave_out_what_is_ignored_and_count_class_255(name: str) -> None:
    """Ignored pixels change nothing; the loss is that of the other pixels alone."""
    options: dict[str, Any] = {"min_kept": 8} if name == "ohem" else {}
    criterion = create_criterion([(name, 1.0, options)])
    logits = torch.randn(1, CLASSES, 4, 4, dtype=torch.float64)
    targets = torch.randint(250, CLASSES, (1, 4, 4), dtype=torch.int16)
    targets[0, 0] = 255
    targets[0, 2:] = -1
    expected = criterion(logits[:, :, :2], targets[:, :2])
    torch.testing.assert_close(criterion(logits, targets), expected)
    better = logits.clone()
    better[:, 255, 0] += 9
    assert criterion(better, targets) < expected
    present = classes_present(targets, CLASSES)
    assert present[0].nonzero().flatten().tolist() == sorted(set(targets[0, :2].flatten().tolist()))


def test_pixels_are_counted() -> None:
    matrix = ConfusionMatrix(CLASSES)
    truth = torch.tensor([[255, -1, 299, 0]], dtype=torch.int16)
    guess = torch.tensor([[255, 255, 298, 0]], dtype=torch.int16)
    matrix.update(guess, truth)
    assert matrix.matrix.nonzero().tolist() == [[0, 0], [255, 255], [299, 298]] and matrix.matrix.sum() == 3
    for wrong in (300, -2):
        with pytest.raises(DatasetError, match=f"1 pixels of value {wrong}; classes are 0 to 299, and -1 is ignored"):
            matrix.update(guess, truth.masked_fill(truth == 0, wrong))
    boundary = BoundaryCounts(CLASSES)
    boundary.update(guess, truth)
    assert boundary.counts[:, 255].tolist() == [1, 1, 1]


def test_a_run_learns_reports_predicts_and_exports_them(root: Path, tmp_path: Path) -> None:
    recipe = tiny.recipe(
        data__dataset="folder", data__root=str(root), data__augment={"crop": [SIDE, SIDE]}, data__check="warn",
        train__iterations=3, evaluation__boundary_iou=True,
    )  # fmt: skip
    result = train(recipe, output_dir=tmp_path / "run", device="cpu")
    assert result.model.num_classes == CLASSES and result.evaluation.confusion.shape == (CLASSES, CLASSES)
    assert 0 < result.evaluation.confusion.sum() <= SIDE * (SIDE - 2)
    assert all(np.isfinite(record["loss"]) for record in result.history if record["event"] == "train")
    evaluation = vitrail.evaluate(result.last, data_root=root, report=tmp_path / "report", device="cpu")
    assert torch.equal(evaluation.confusion, result.evaluation.confusion)
    assert "kind 255" in (tmp_path / "report/index.html").read_text()


def test_predictions_are_written_in_16_bits(tmp_path: Path) -> None:
    model = vitrail.create_model("tiny", num_classes=CLASSES).eval()
    names = tuple(f"kind {index}" for index in range(CLASSES))
    model.card = ModelCard(names, distinct_colours(CLASSES), recipe={"model": {"segmentor": "tiny"}})
    with torch.no_grad():
        model.head.classifier.bias[255] = 1e4  # type: ignore[index, union-attr, operator]
    prediction = vitrail.predict(model, Image.new("RGB", (32, 16)), device="cpu")
    prediction.save(tmp_path / "index.png", "index")
    with Image.open(tmp_path / "index.png") as written:
        assert (np.asarray(written) == 255).all()
    assert (tmp_path / "index.png").read_bytes()[24] == 16  # bits per pixel, in the header of a PNG
    assert torch.equal(read_mask(tmp_path / "index.png"), torch.full((16, 32), 255, dtype=torch.uint8))
