"""Losses against formulas written out pixel by pixel, and against torch and torchvision."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from vitrail.errors import ModelError
from vitrail.losses import (
    BinaryCrossEntropyLoss,
    CrossEntropyLoss,
    DiceLoss,
    FocalLoss,
    LovaszLoss,
    OHEMCrossEntropyLoss,
    create_criterion,
    list_losses,
)

CLASSES = 5
WEIGHTS = (0.5, 1.0, 2.0, 1.5, 0.25)


@pytest.fixture
def logits() -> Tensor:
    return (3 * torch.randn(2, CLASSES, 6, 7, dtype=torch.float64)).requires_grad_()


@pytest.fixture
def targets() -> Tensor:
    """Targets with an ignored strip and without class 4."""
    targets = torch.randint(0, 4, (2, 6, 7))
    targets[0, :2] = 255
    targets[1, 5, 6] = 255
    return targets


def pixels(logits: Tensor, targets: Tensor) -> list[tuple[list[float], int]]:
    """Class probabilities and class of every pixel that counts."""
    probabilities = logits.softmax(dim=1).permute(0, 2, 3, 1).reshape(-1, logits.shape[1]).tolist()
    return [(p, t) for p, t in zip(probabilities, targets.flatten().tolist(), strict=True) if t != 255]


def gradient(loss: nn.Module, logits: Tensor, targets: Tensor) -> Tensor:
    return torch.autograd.grad(loss(logits, targets), logits)[0]


@pytest.mark.parametrize("name", list_losses())
def test_gradient_matches_finite_differences(name: str, logits: Tensor, targets: Tensor) -> None:
    criterion = create_criterion([(name, 1.0, {})])
    assert torch.autograd.gradcheck(lambda x: criterion(x, targets), logits, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("name", list_losses())
def test_ignored_pixels_change_nothing(name: str, logits: Tensor, targets: Tensor) -> None:
    criterion = create_criterion([(name, 1.0, {})])
    changed = logits.detach() + 100 * (targets == 255).unsqueeze(1)
    torch.testing.assert_close(criterion(changed, targets), criterion(logits, targets).detach())
    assert gradient(criterion, logits, targets).permute(0, 2, 3, 1)[targets == 255].abs().max() == 0


OPTIONS = [
    ("cross_entropy", {"class_weights": WEIGHTS}),
    ("cross_entropy", {"ignored_in_mean": True}),
    ("cross_entropy", {"label_smoothing": 0.1}),
    ("binary_cross_entropy", {"class_weights": WEIGHTS}),
    ("dice", {"per_class": False, "squared": True, "sigmoid": True}),
    ("focal", {"sigmoid": True, "alpha": 0.25}),
    ("lovasz", {"per_image": True}),
    ("lovasz", {"all_classes": True}),
    ("ohem", {"min_kept": 1000}),
    ("ohem", {"threshold": None, "min_kept": 5}),
    ("ohem", {"min_kept": 1000, "mean_over_all": True}),
]


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in list_losses()), *OPTIONS])
def test_nothing_to_learn_from_gives_zero_and_a_zero_gradient(name: str, options: dict, logits: Tensor) -> None:
    criterion = create_criterion([(name, 1.0, options)])
    ignored = torch.full((2, 6, 7), 255)
    assert criterion(logits, ignored).item() == 0
    assert gradient(criterion, logits, ignored).abs().max() == 0


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in list_losses() if name != "ohem"), *OPTIONS])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_full_precision(name: str, options: dict, dtype: torch.dtype) -> None:
    criterion = create_criterion([(name, 1.0, options)])
    logits = (10 * torch.randn(1, CLASSES, 256, 300)).to(dtype)  # 76800 pixels: more than float16 can count
    targets = torch.randint(0, CLASSES, (1, 256, 300))
    value = criterion(logits, targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, criterion(logits.double(), targets).float(), rtol=1e-4, atol=1e-6)


def test_cross_entropy_is_the_mean_over_valid_pixels(logits: Tensor, targets: Tensor) -> None:
    expected = [-math.log(p[t]) for p, t in pixels(logits, targets)]
    assert CrossEntropyLoss()(logits, targets).item() == pytest.approx(sum(expected) / len(expected))
    assert CrossEntropyLoss(ignored_in_mean=True)(logits, targets).item() == pytest.approx(sum(expected) / (2 * 6 * 7))


def test_class_weights_weigh_the_mean(logits: Tensor, targets: Tensor) -> None:
    expected = [-WEIGHTS[t] * math.log(p[t]) for p, t in pixels(logits, targets)]
    weight = sum(WEIGHTS[t] for _, t in pixels(logits, targets))
    assert CrossEntropyLoss(class_weights=WEIGHTS)(logits, targets).item() == pytest.approx(sum(expected) / weight)
    by_pixels = CrossEntropyLoss(class_weights=WEIGHTS, weights_in_mean=False)
    assert by_pixels(logits, targets).item() == pytest.approx(sum(expected) / len(expected))


def test_label_smoothing_is_that_of_torch(logits: Tensor, targets: Tensor) -> None:
    expected = F.cross_entropy(logits, targets, ignore_index=255, label_smoothing=0.2)
    torch.testing.assert_close(CrossEntropyLoss(label_smoothing=0.2)(logits, targets), expected)


def test_binary_cross_entropy_treats_each_class_alone(logits: Tensor, targets: Tensor) -> None:
    rows = logits.permute(0, 2, 3, 1)[targets != 255]
    answers = F.one_hot(targets[targets != 255], CLASSES).double()
    torch.testing.assert_close(
        BinaryCrossEntropyLoss()(logits, targets), F.binary_cross_entropy_with_logits(rows, answers)
    )
    weighted = F.binary_cross_entropy_with_logits(rows, answers, weight=torch.tensor(WEIGHTS).double())
    torch.testing.assert_close(BinaryCrossEntropyLoss(class_weights=WEIGHTS)(logits, targets), weighted)


def test_ohem_keeps_the_pixels_below_the_threshold(logits: Tensor, targets: Tensor) -> None:
    kept = [p[t] for p, t in pixels(logits, targets) if p[t] < 0.4]
    expected = -sum(math.log(p) for p in kept)
    loss = OHEMCrossEntropyLoss(threshold=0.4, min_kept=1)
    assert loss(logits, targets).item() == pytest.approx(expected / len(kept))
    over_all = OHEMCrossEntropyLoss(threshold=0.4, min_kept=1, mean_over_all=True)
    assert over_all(logits, targets).item() == pytest.approx(expected / targets.numel())


def test_ohem_raises_the_threshold_until_enough_are_kept(logits: Tensor, targets: Tensor) -> None:
    hardest = sorted(p[t] for p, t in pixels(logits, targets))[:10]
    expected = -sum(math.log(p) for p in hardest) / 10
    assert OHEMCrossEntropyLoss(threshold=1e-9, min_kept=5)(logits, targets).item() == pytest.approx(expected)
    assert OHEMCrossEntropyLoss(threshold=None, min_kept=5)(logits, targets).item() == pytest.approx(expected)


def test_dice_per_class_is_one_minus_the_overlap_averaged_over_present_classes(logits: Tensor, targets: Tensor) -> None:
    expected = []
    for index in range(4):  # class 4 does not occur
        overlap = sum(p[index] for p, t in pixels(logits, targets) if t == index)
        total = sum(p[index] for p, _ in pixels(logits, targets)) + sum(t == index for _, t in pixels(logits, targets))
        expected.append(1 - (2 * overlap + 1e-3) / (total + 1e-3))
    assert DiceLoss()(logits, targets).item() == pytest.approx(sum(expected) / 4)


def test_perfect_predictions_leave_no_dice_or_lovasz_loss(targets: Tensor) -> None:
    perfect = 60.0 * F.one_hot(targets.where(targets != 255, 0), CLASSES).permute(0, 3, 1, 2).double()
    for loss in (DiceLoss(eps=0.0), LovaszLoss()):
        assert loss(perfect, targets).item() == pytest.approx(0, abs=1e-12)


def test_softmax_focal_loss_fades_cross_entropy(logits: Tensor, targets: Tensor) -> None:
    expected = [-0.3 * (1 - p[t]) ** 1.5 * math.log(p[t]) for p, t in pixels(logits, targets)]
    loss = FocalLoss(gamma=1.5, alpha=0.3)
    assert loss(logits, targets).item() == pytest.approx(sum(expected) / len(expected))


def test_sigmoid_focal_loss_is_that_of_torchvision(logits: Tensor, targets: Tensor) -> None:
    rows = logits.permute(0, 2, 3, 1)[targets != 255]
    answers = F.one_hot(targets[targets != 255], CLASSES).double()
    expected = sigmoid_focal_loss(rows, answers, alpha=0.25, gamma=2, reduction="mean")
    torch.testing.assert_close(FocalLoss(sigmoid=True, alpha=0.25)(logits, targets), expected)


def jaccard_loss(missed: set[int], present: list[bool]) -> float:
    """One minus the intersection over union of a class when the pixels in `missed` are predicted wrongly."""
    inside = {i for i, p in enumerate(present) if p}
    return len(missed) / len(inside | missed) if inside | missed else 0.0


def test_lovasz_is_the_choquet_integral_of_the_jaccard_loss(logits: Tensor, targets: Tensor) -> None:
    expected = []
    for index in range(4):
        errors = [abs((t == index) - p[index]) for p, t in pixels(logits, targets)]
        present = [t == index for _, t in pixels(logits, targets)]
        order = sorted(range(len(errors)), key=lambda i: -errors[i])
        total, before = 0.0, 0.0
        for count, position in enumerate(order, start=1):
            after = jaccard_loss(set(order[:count]), present)
            total += errors[position] * (after - before)
            before = after
        expected.append(total)
    assert LovaszLoss()(logits, targets).item() == pytest.approx(sum(expected) / 4)


def test_lovasz_of_hard_predictions_is_the_jaccard_loss(targets: Tensor) -> None:
    predicted = torch.randint(0, 4, targets.shape)
    logits = 200.0 * F.one_hot(predicted, CLASSES).permute(0, 3, 1, 2).double()
    valid = targets != 255
    expected = []
    for index in range(4):
        p, t = (predicted == index) & valid, targets == index
        expected.append(1 - (p & t).sum().item() / (p | t).sum().item())
    assert LovaszLoss()(logits, targets).item() == pytest.approx(sum(expected) / 4)


def test_a_criterion_is_the_weighted_sum_of_its_terms(logits: Tensor, targets: Tensor) -> None:
    criterion = create_criterion([("cross_entropy", 0.5, {"class_weights": WEIGHTS}), ("dice", 3.0, {})])
    expected = 0.5 * CrossEntropyLoss(class_weights=WEIGHTS)(logits, targets) + 3 * DiceLoss()(logits, targets)
    torch.testing.assert_close(criterion(logits, targets), expected)
    assert not criterion.state_dict(), "a model's checkpoint must not change with its loss"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: create_criterion([("crossentropy", 1.0, {})]), "cross_entropy"),
        (lambda: create_criterion([("ohem", 1.0, {"min_kep": 3})]), "min_kept"),
        (lambda: create_criterion([]), "at least one loss"),
        (lambda: OHEMCrossEntropyLoss(min_kept=0), "min_kept"),
        (lambda: CrossEntropyLoss(class_weights=[1, 2])(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2)), "2 entries"),
    ],
)
def test_mistakes_are_named(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build()


@pytest.mark.parametrize("classes", [3, 40])
def test_memory_layout_does_not_matter(classes: int) -> None:
    logits = torch.randn(2, classes, 9, 7, dtype=torch.float64)
    targets = torch.randint(0, classes, (2, 9, 7))
    targets[:, :2] = 255
    planes, rows = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    expected = CrossEntropyLoss()(planes.contiguous(), targets)
    found = CrossEntropyLoss()(rows.contiguous(memory_format=torch.channels_last), targets)
    expected.backward()
    found.backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(rows.grad, planes.grad)


@pytest.mark.parametrize("weights", [(0.0, 0.0), (-1.0, 1.0), (float("nan"), 1.0), (float("inf"), 1.0)])
@pytest.mark.parametrize("loss", [CrossEntropyLoss, BinaryCrossEntropyLoss, FocalLoss, OHEMCrossEntropyLoss])
def test_class_weights_with_which_nothing_is_learned_are_refused(loss: type, weights: tuple[float, ...]) -> None:
    with pytest.raises(ModelError, match="one at least is above 0"):
        loss(class_weights=weights)
