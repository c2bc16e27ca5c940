"""Augmentations over several images, crops around classes: what lies where, and that seed and position decide it."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from helpers.tiny_training import BENCHMARK, TinySource
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import tv_tensors

from vitrail.datasets import ClassSampling, SampleKey, SegmentationDataset, TrainSampler, collate_train
from vitrail.errors import RecipeError
from vitrail.recipes import AugmentationConfig, AugmentConfig
from vitrail.transforms import TrainTransform
from vitrail.transforms.mixing import CopyPaste, CutMix, Mosaic
from vitrail.transforms.pipeline import ImageSource

SIZE = (24, 32)


class FlatSource:
    """Images whose pixels say of which image they are, 100 + index, and where; classes are 10 * index + column // 8."""

    def __init__(self, count: int = 4) -> None:
        self.ids = [str(index) for index in range(count)]

    def load(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        rows, columns = torch.meshgrid(*(torch.arange(side) for side in SIZE), indexing="ij")
        image = torch.stack([torch.full_like(rows, 100 + index), rows, columns]).to(torch.uint8)
        return tv_tensors.Image(image), tv_tensors.Mask((10 * index + columns // 8).to(torch.uint8))


def transform(
    *extra: AugmentationConfig, source: ImageSource | None = None, names: tuple[str, ...] = (), **changes: Any
) -> TrainTransform:
    plain = {"flip": 0.0, "photometric": False, "crop": SIZE, "extra": extra, **changes}
    return TrainTransform(AugmentConfig(**plain), fill=(0, 0, 0), source=source or FlatSource(), class_names=names)


def mixed(mixing: CopyPaste | CutMix | Mosaic, seed: int, other: int = 1) -> tuple[Tensor, Tensor]:
    """Mix image 0 with image 1 (and 2 and 3)."""
    source = FlatSource()
    turns = iter(range(other, 10))
    torch.manual_seed(seed)
    image, mask = mixing.mix(*source.load(0), lambda: source.load(next(turns)))
    assert (image[0].int() - 100 == mask.int() // 10).all(), "image and mask are of the same image everywhere"
    return image[0].int() - 100, mask.int()


def test_copy_paste_pastes_half_of_the_classes_with_all_of_their_pixels() -> None:
    pasted: set[int] = set()
    for seed in range(20):
        owner, mask = mixed(CopyPaste(), seed)
        labels = set(mask[owner == 1].tolist())
        assert len(labels) == 2  # of 4
        for label in labels:
            assert (mask == label).sum() == 8 * SIZE[0]
        assert (owner == 0).sum() == 2 * 8 * SIZE[0]
        pasted |= labels
    assert pasted == {10, 11, 12, 13}


def test_copy_paste_of_named_classes_only() -> None:
    names = [f"class {index}" for index in range(40)]
    mixing = CopyPaste(classes=("class 12", "class 5"))
    mixing.set_class_names(names)
    owner, mask = mixed(mixing, 0)
    assert set(mask[owner == 1].tolist()) == {12}
    owner, _ = mixed(mixing, 0, other=2)  # which has none of them
    assert (owner == 0).all()
    with pytest.raises(RecipeError, match=r"no class 'clas 12'. Did you mean 'class 12'\?"):
        CopyPaste(classes=("clas 12",)).set_class_names(names)


def test_cutmix_replaces_a_rectangle_whose_mean_share_is_that_of_the_paper() -> None:
    shares, whole = [], 0
    for seed in range(300):
        owner, _ = mixed(CutMix(), seed)
        rows, columns = (owner == 1).any(1), (owner == 1).any(0)
        assert (owner == 1).sum() == rows.sum() * columns.sum(), "one rectangle"
        assert (rows.int().diff() == 1).sum() + int(rows[0]) <= 1
        shares.append(float((owner == 1).float().mean()))
        whole += int((owner == 1).all())
    # A side s = sqrt(u) about a uniform centre keeps s - s² / 4 of its length: E[(s - s²/4)²] = 1/2 - 1/5 + 1/48.
    assert sum(shares) / len(shares) == pytest.approx(0.3208, abs=0.03)
    assert whole < 10


def test_mosaic_joins_four_images_at_a_point() -> None:
    for seed in range(10):
        owner, mask = mixed(Mosaic(), seed)
        top, left = int((owner[:, 0] == 0).sum()), int((owner[0] == 0).sum())
        assert 0.25 * SIZE[0] - 1 <= top <= 0.75 * SIZE[0] + 1
        expected = torch.empty(SIZE, dtype=torch.int)
        expected[:top, :left], expected[:top, left:], expected[top:, :left], expected[top:, left:] = 0, 1, 2, 3
        assert (owner == expected).all()
        # the upper left quarter shows the lower right corner of its image, whose last column is of class 3
        assert mask[0, left - 1] == 3
        assert mask[0, left] == 10


def test_others_go_through_the_steps_before_and_all_is_decided_by_the_seed() -> None:
    extra = (
        AugmentationConfig(name="mosaic", probability=0.5),
        AugmentationConfig(name="Grayscale", options={"num_output_channels": 3}),
        AugmentationConfig(name="cutmix", options={"alpha": 100.0}),
    )
    step = transform(*extra, scale=(0.5, 2.0), flip=0.5)
    dataset = SegmentationDataset(BENCHMARK, FlatSource(), step)
    first, again, other = (dataset[SampleKey(2, seed)] for seed in (5, 5, 6))
    assert first["image"].shape == (3, *SIZE)
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["mask"], again["mask"])
    assert not torch.equal(first["image"], other["image"])
    assert torch.equal(first["image"][0], first["image"][1]), "grey in the rectangle of the other image too"


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_do_not_change_mixed_samples(workers: int) -> None:
    source = TinySource("train")
    step = transform(
        AugmentationConfig(name="copy_paste"), AugmentationConfig(name="cutmix"), source=source, crop=(64, 64)
    )
    dataset = SegmentationDataset(BENCHMARK, source, step)
    sampling = ClassSampling(
        torch.tensor([900, 90, 10]), [range(26), range(26), [3, 5]], probability=0.5, temperature=0.5
    )
    sampler = TrainSampler(26, 4, seed=3, class_sampling=sampling)
    loader = DataLoader(dataset, batch_sampler=sampler, num_workers=workers, collate_fn=collate_train)
    expected = (collate_train([dataset[key] for key in keys]) for keys in sampler)
    for _, ours, theirs in zip(range(3), loader, expected, strict=False):
        assert ours["id"] == theirs["id"]
        assert torch.equal(ours["image"], theirs["image"])
        assert torch.equal(ours["mask"], theirs["mask"])


def test_what_mixing_needs_is_said() -> None:
    extra = (AugmentationConfig(name="mosaic"),)
    with pytest.raises(RecipeError, match=r"'mosaic' combines several images and needs .*set data\.augment\.crop"):
        transform(*extra, crop=None)
    with pytest.raises(RecipeError, match="needs a source of others"):
        TrainTransform(AugmentConfig(crop=SIZE, extra=extra), fill=(0, 0, 0))
    with pytest.raises(RecipeError, match="alpha must be above 0"):
        transform(AugmentationConfig(name="cutmix", options={"alpha": 0.0}))


def test_crops_around_a_class_contain_it_and_lie_everywhere_else_evenly() -> None:
    mask = torch.zeros(60, 80, dtype=torch.uint8)
    mask[10, 70] = 1
    sample = {"image": mask[None].repeat(3, 1, 1) + 7, "mask": mask, "id": "a", "size": (60, 80)}
    around = transform(class_crop=1.0, crop=(20, 20))
    torch.manual_seed(0)
    seen = sum(int((around(sample)["mask"] == 1).any()) for _ in range(400))
    assert 200 <= seen <= 260  # half of the crops are drawn around class 1, 2 % of the others have it by chance
    places = set()
    for _ in range(400):
        after = around({**sample, "label": 1})
        (place,) = (after["mask"] == 1).nonzero().tolist()
        assert after["image"][0, place[0], place[1]] == 7 + 1
        places.add(tuple(place))
    rows, columns = zip(*places, strict=True)
    assert (min(rows), max(rows)) == (0, 10)  # the border of the image is 10 above
    assert (min(columns), max(columns)) == (10, 19)
    assert (transform(class_crop=1.0, crop=(20, 20))({**sample, "label": 2})["mask"].shape) == (20, 20)


def test_rare_classes_are_drawn_as_often_as_the_paper_says() -> None:
    pixels = torch.tensor([700, 300, 0])
    sampling = ClassSampling(pixels, [range(100), [7, 9], []], probability=0.5, temperature=0.5)
    rare = torch.tensor([0.3 / 0.5, 0.7 / 0.5]).softmax(0)[1].item()
    keys = [key for batch in islice(TrainSampler(100, 20, seed=1, class_sampling=sampling), 200) for key in batch]
    labels = [key.label for key in keys]
    assert labels.count(1) / len(labels) == pytest.approx(0.5 * rare, abs=0.03)
    assert labels.count(None) / len(labels) == pytest.approx(0.5, abs=0.03)
    assert 2 not in labels
    assert {key.index for key in keys if key.label == 1} == {7, 9}
    assert len({key.seed for key in keys}) == len(keys)
