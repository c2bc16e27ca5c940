"""The pipelines as a whole, and the steps that have no file of their own here."""

import pytest
import torch
from torchvision import tv_tensors

from vitrail.errors import DatasetError
from vitrail.recipes import AugmentConfig, ResizeConfig
from vitrail.transforms import EvalTransform, Normalize, TrainTransform
from vitrail.transforms.flip import HorizontalFlip
from vitrail.transforms.pad import pad_to
from vitrail.transforms.rotate import rotate

FILL = (124, 116, 104)
PLAIN = {"flip": 0.0, "photometric": False}


def pipeline(**changes):
    return TrainTransform(AugmentConfig(**{**PLAIN, **changes}), fill=FILL)


def sample(height=40, width=60):
    return {
        "image": tv_tensors.Image(torch.randint(0, 256, (3, height, width), dtype=torch.uint8)),
        "mask": tv_tensors.Mask(torch.randint(0, 5, (height, width), dtype=torch.uint8)),
        "id": "a",
        "size": (height, width),
    }


def located(height=40, width=60):
    """A sample whose mask says what the image shows: a step that moved one without the other would be seen."""
    one = sample(height, width)
    one["mask"] = tv_tensors.Mask(one["image"][0] // 64)
    return one


def test_a_pipeline_that_does_nothing_changes_nothing():
    before = sample()
    after = pipeline()(before)
    assert torch.equal(after["image"], before["image"])
    assert torch.equal(after["mask"], before["mask"])
    assert (after["id"], after["size"]) == ("a", (40, 60))


@pytest.mark.parametrize("scale", [(0.3, 0.5), (1.0, 1.0), (1.5, 2.0)])
def test_every_sample_has_the_size_of_the_crop(scale):
    transform = pipeline(scale=scale, crop=(32, 48), photometric=True, flip=0.5, max_class_share=0.5)
    for _ in range(5):
        after = transform(sample())
        assert after["image"].shape == (3, 32, 48)
        assert after["image"].dtype == torch.uint8
        assert after["mask"].shape == (32, 48)
        assert after["size"] == (40, 60)


def test_the_short_side_gets_one_of_the_lengths_and_the_long_side_stays_within_its_limit():
    transform = pipeline(shortest_edge={"lengths": [20, 30, 40], "max_size": 54})
    sizes = {tuple(transform(sample(40, 60))["image"].shape[1:]) for _ in range(30)}
    assert sizes == {(20, 30), (30, 45), (36, 54)}  # 40 × 60 would be too long
    transform = pipeline(shortest_edge={"between": [20, 22], "max_size": 54})
    assert {transform(sample(40, 60))["image"].shape[1] for _ in range(30)} == {20, 21, 22}


def test_image_and_mask_move_together():
    transform = pipeline(crop=(24, 32), flip=0.5)
    for _ in range(10):
        after = transform(located())
        assert torch.equal(after["image"][0] // 64, after["mask"])


def test_resized_image_and_mask_show_the_same_place():
    step = located(40, 60)
    step["image"][:] = 0
    step["image"][:, 10:30, 20:50] = 255
    step["mask"] = tv_tensors.Mask((step["image"][0] > 0).to(torch.uint8))
    transform = pipeline(resize=ResizeConfig(size=(80, 120)), crop=(50, 70), flip=0.5)
    for _ in range(10):
        after = transform(step)
        agreement = ((after["image"][0] > 127) == (after["mask"] == 1)).float().mean()
        assert agreement > 0.97


def test_padding_is_at_the_bottom_and_right():
    image, mask = pad_to(torch.ones(3, 2, 3, dtype=torch.uint8), torch.ones(2, 3, dtype=torch.uint8), (4, 5), (9, 8, 7))
    assert image.shape == (3, 4, 5)
    assert mask.tolist() == [[1, 1, 1, 255, 255]] * 2 + [[255] * 5] * 2
    assert (image[:, :2, :3] == 1).all()
    assert image[:, 3, 4].tolist() == [9, 8, 7]


def test_padding_leaves_larger_images_alone():
    image, mask = pad_to(torch.ones(3, 6, 3, dtype=torch.uint8), torch.ones(6, 3, dtype=torch.uint8), (4, 5), (0, 0, 0))
    assert image.shape == (3, 6, 5)
    assert mask.shape == (6, 5)


def test_mirrored_pairs_change_places():
    mask = torch.tensor([[0, 1, 2], [3, 255, 1]], dtype=torch.uint8)
    image = torch.arange(18, dtype=torch.uint8).reshape(3, 2, 3)
    mirrored, swapped = HorizontalFlip([(1, 2)])(image, mask)
    assert swapped.tolist() == [[1, 2, 0], [2, 255, 3]]
    assert torch.equal(mirrored, image.flip(-1))


def test_a_class_in_two_pairs_is_refused():
    with pytest.raises(DatasetError, match="twice"):
        HorizontalFlip([(1, 2), (2, 3)])


def test_rotation_by_a_quarter_turn():
    image = torch.randint(0, 256, (3, 9, 9), dtype=torch.uint8)
    mask = torch.randint(0, 5, (9, 9), dtype=torch.uint8)
    turned, turned_mask = rotate(image, mask, 90.0, (0, 0, 0))
    assert torch.equal(turned_mask, mask.rot90())
    assert (turned.int() - image.rot90(1, (1, 2)).int()).abs().max() <= 1


def test_rotation_fills_with_the_colour_and_ignores_it():
    image, mask = rotate(
        torch.zeros(3, 40, 40, dtype=torch.uint8), torch.zeros(40, 40, dtype=torch.uint8), 45.0, (9, 8, 7)
    )
    assert mask[0, 0] == 255
    assert image[:, 0, 0].tolist() == [9, 8, 7]
    assert mask[20, 20] == 0
    assert set(mask.unique().tolist()) == {0, 255}


def test_rotation_happens_as_often_as_asked():
    transform = pipeline(rotate=0.5, rotate_degrees=40.0)
    turned = sum(bool((transform(sample())["mask"] == 255).any()) for _ in range(60))
    assert 15 < turned < 45


def test_the_same_seed_gives_the_same_sample():
    transform = pipeline(
        scale=(0.5, 2.0),
        crop=(32, 32),
        flip=0.5,
        rotate=0.5,
        rotate_degrees=10.0,
        photometric=True,
        max_class_share=0.75,
    )
    one = sample()
    results = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        results.append(transform(one))
    assert torch.equal(results[0]["image"], results[2]["image"])
    assert torch.equal(results[0]["mask"], results[2]["mask"])
    assert not torch.equal(results[0]["image"], results[1]["image"])


def test_at_test_time_the_mask_keeps_its_size():
    after = EvalTransform(size=(80, 200), keep_ratio=True)(sample())
    assert after["image"].shape == (3, 80, 120)
    assert after["mask"].shape == (40, 60)
    assert EvalTransform(size=(30, 31), keep_ratio=False)(sample())["image"].shape == (3, 30, 31)


def test_without_a_test_time_size_the_sample_passes_through():
    one = sample()
    assert EvalTransform(size=None, keep_ratio=True)(one) is one


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalize(dtype):
    images = torch.randint(0, 256, (2, 3, 4, 5)).to(dtype)
    out = Normalize((1.0, 2.0, 3.0), (2.0, 4.0, 8.0))(images)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out[:, 1], (images[:, 1].float() - 2) / 4)
    assert not Normalize((0.0,), (1.0,)).state_dict(), "a model's weights do not depend on it"


def test_normalize_wants_as_many_deviations_as_means():
    with pytest.raises(ValueError, match="channels"):
        Normalize((1.0, 2.0), (1.0,))
