"""Augmentations by name: torchvision's and one's own, on an image and its mask alike."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail.datasets import SampleKey
from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.dataset import SegmentationDataset
from vitrail.errors import DatasetError, RecipeError
from vitrail.recipes import AugmentationConfig, AugmentConfig, recipe_from_dict
from vitrail.transforms import AUGMENTATIONS, TrainTransform, list_augmentations, register_augmentation

FILL = (124, 116, 104)
MIXING = ("copy_paste", "cutmix", "mosaic")  # tests/transforms/test_mixing.py
NEEDED: dict[str, dict[str, Any]] = {
    "CenterCrop": {"size": [20, 30]},
    "ColorJitter": {"brightness": 0.4, "hue": [-0.1, 0.1]},
    "ElasticTransform": {"alpha": 80.0},
    "GaussianBlur": {"kernel_size": 5, "sigma": [0.5, 1.5]},
    "Grayscale": {"num_output_channels": 3},
    "JPEG": {"quality": [30, 60]},
    "Pad": {"padding": 4},
    "RandomAdjustSharpness": {"sharpness_factor": 2.0},
    "RandomAffine": {"degrees": 30, "translate": [0.2, 0.2], "shear": 10},
    "RandomCrop": {"size": [50, 70], "pad_if_needed": True},
    "RandomErasing": {"p": 1.0},
    "RandomPosterize": {"bits": 3},
    "RandomResize": {"min_size": 20, "max_size": 30},
    "RandomResizedCrop": {"size": [32, 48]},
    "RandomRotation": {"degrees": 90},
    "RandomShortestSize": {"min_size": 24},
    "RandomSolarize": {"threshold": 128.0},
    "Resize": {"size": [24, 36]},
    "ScaleJitter": {"target_size": [30, 40]},
}
FILLING = {
    "ElasticTransform",
    "Pad",
    "RandomAffine",
    "RandomCrop",
    "RandomPerspective",
    "RandomRotation",
    "RandomZoomOut",
    "rand_augment",
}


def pipeline(*extra: AugmentationConfig) -> TrainTransform:
    return TrainTransform(AugmentConfig(flip=0.0, photometric=False, extra=extra), fill=FILL)


def sample() -> dict[str, Any]:
    """A sample whose mask can be told from what it was filled with: classes are 1 and 2, the image is dark."""
    mask = torch.randint(1, 3, (5, 8)).repeat_interleave(8, 0).repeat_interleave(8, 1).to(torch.uint8)
    return {"image": (mask * 20)[None].repeat(3, 1, 1), "mask": mask, "id": "a", "size": (40, 64)}


@pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities:DeprecationWarning")  # JPEG
@pytest.mark.parametrize("name", [name for name in list_augmentations() if name not in MIXING])
def test_every_augmentation_keeps_classes_and_types(name: str) -> None:
    extra = AugmentationConfig(name=name, options=NEEDED.get(name, {}))
    transform = pipeline(extra)
    values: set[int] = set()
    for seed in range(12):
        torch.manual_seed(seed)
        after = transform(sample())
        image, mask = after["image"], after["mask"]
        assert image.dtype == mask.dtype == torch.uint8
        assert image.shape == (3, *mask.shape)
        values |= set(mask.unique().tolist())
    assert values <= {1, 2, 255}
    assert (255 in values) == (name in FILLING)
    assert pickle.loads(pickle.dumps(transform))(sample())["mask"].dtype == torch.uint8  # what data workers need


def test_image_and_mask_move_together_and_are_filled_with_the_mean_colour() -> None:
    after = pipeline(AugmentationConfig(name="RandomAffine", options={"degrees": [90, 90]}))(sample())
    image, mask = after["image"].as_subclass(Tensor), after["mask"].as_subclass(Tensor)
    outside = mask == 255
    assert 0.2 < outside.float().mean() < 0.6
    assert torch.equal(image[0][~outside], mask[~outside] * 20)
    assert torch.equal(image[:, outside].unique(dim=1), torch.tensor(FILL, dtype=torch.uint8)[:, None])


def test_a_colour_of_ones_own_fills_the_image_and_255_the_mask() -> None:
    extra = AugmentationConfig(name="Pad", options={"padding": 3, "fill": [9, 8, 7]})
    after = pipeline(extra)(sample())
    assert after["image"][:, 0, 0].tolist() == [9, 8, 7]
    assert after["mask"][0, 0] == 255


def test_probability_and_order() -> None:
    invert = AugmentationConfig(name="RandomInvert", options={"p": 1.0}, probability=0.25)
    before = sample()
    torch.manual_seed(0)
    count = sum(not torch.equal(pipeline(invert)(before)["image"], before["image"]) for _ in range(200))
    assert 30 < count < 70
    always = AugmentationConfig(name="RandomInvert", options={"p": 1.0})
    twice = pipeline(always, always)(before)
    assert torch.equal(twice["image"].as_subclass(Tensor), before["image"])


class _Source:
    ids: tuple[str, ...] = ("a", "b")

    def load(self, index: int) -> tuple[Tensor, Tensor]:
        one = sample()
        return one["image"], one["mask"]


def test_a_key_determines_the_sample() -> None:
    extra = AugmentationConfig(name="ElasticTransform")
    benchmark = Benchmark("two", "Two", ("a", "b"), ((0, 0, 0), (1, 1, 1)), splits={})
    dataset = SegmentationDataset(
        benchmark, _Source(), pipeline(extra, AugmentationConfig(name="ColorJitter", options={"hue": 0.4}))
    )  # type: ignore[arg-type]
    first, other, again = (dataset[SampleKey(0, seed)] for seed in (1, 2, 1))
    assert torch.equal(first["image"], again["image"]) and torch.equal(first["mask"], again["mask"])
    assert not torch.equal(first["image"], other["image"])


def test_mistakes_are_named() -> None:
    with pytest.raises(RecipeError, match=r"unknown augmentation 'GausianBlur'. Did you mean 'GaussianBlur'"):
        pipeline(AugmentationConfig(name="GausianBlur"))
    with pytest.raises(RecipeError, match=r"'GaussianBlur' takes no argument 'size'.*It takes: kernel_size, sigma"):
        pipeline(AugmentationConfig(name="GaussianBlur", options={"size": 3}))
    with pytest.raises(RecipeError, match=r"'ColorJitter': brightness must be .*float.*, not 'much'"):
        pipeline(AugmentationConfig(name="ColorJitter", options={"brightness": "much"}))
    with pytest.raises(RecipeError, match=r"augmentation 'GaussianBlur': Kernel size value should be an odd"):
        pipeline(AugmentationConfig(name="GaussianBlur", options={"kernel_size": 4}))
    with pytest.raises(RecipeError, match=r"augmentation 'GaussianBlur': .*kernel_size"):
        pipeline(AugmentationConfig(name="GaussianBlur"))


@pytest.mark.parametrize("name", ["RandAugment", "Normalize", "RandomHorizontalFlip", "MixUp"])
def test_transforms_that_do_not_fit_are_not_offered(name: str) -> None:
    assert name not in AUGMENTATIONS


def test_an_augmentation_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AUGMENTATIONS, "_entries", dict(AUGMENTATIONS._entries))

    @register_augmentation("darken")
    def darken(*, by: int = 1) -> Any:
        return lambda image, mask: (image - by, mask)

    @register_augmentation("halve")
    def halve() -> Any:
        return lambda image, mask: (image[:, ::2], mask)

    before = sample()
    after = pipeline(AugmentationConfig(name="darken", options={"by": 5}))(before)
    assert torch.equal(after["image"].as_subclass(Tensor), before["image"] - 5)
    with pytest.raises(DatasetError, match=r"augmentation 'halve' must return .*it returned torch.uint8 \[3, 20, 64\]"):
        pipeline(AugmentationConfig(name="halve"))(before)


def test_a_recipe_lists_names_or_options() -> None:
    extra = ["RandomGrayscale", {"name": "GaussianBlur", "probability": 0.3, "options": {"kernel_size": 5}}]
    recipe = recipe_from_dict(
        {
            "model": {"segmentor": "fcn"},
            "data": {"dataset": "scenes", "augment": {"extra": extra}},
            "train": {"epochs": 1},
        }
    )
    assert [(e.name, e.probability, e.options) for e in recipe.data.augment.extra] == [
        ("RandomGrayscale", 1.0, {}),
        ("GaussianBlur", 0.3, {"kernel_size": 5}),
    ]


def test_rand_augment_rotates_masks_and_colours_images_alone() -> None:
    before = sample()
    for name, options, changed in (("none", {"count": 0}, False), ("all", {"count": 7, "magnitude": 0.5}, True)):
        torch.manual_seed(0)
        after = pipeline(AugmentationConfig(name="rand_augment", options=options))(before)
        assert torch.equal(after["mask"], before["mask"]) != changed, name
        assert torch.equal(after["image"].as_subclass(Tensor), before["image"]) != changed, name
    torch.manual_seed(0)
    changes = [pipeline(AugmentationConfig(name="rand_augment", options={"count": 1}))(before) for _ in range(60)]
    rotated = sum(255 in after["mask"] for after in changes)
    assert 0 < rotated < 20  # one of seven
    with pytest.raises(RecipeError, match="count should be 0 to 7 and magnitude 0 to 1, not 8 and 2"):
        pipeline(AugmentationConfig(name="rand_augment", options={"count": 8, "magnitude": 2.0}))
