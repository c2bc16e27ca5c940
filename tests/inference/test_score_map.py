"""Maps computed in bands of rows against the same maps made at once by torch."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers.versions import CAN_EXPORT
from torch.nn import functional as F

from vitrail.inference import score_map
from vitrail.inference.score_map import (
    DenseMap,
    FlippedMap,
    MeanMap,
    ProbabilityMap,
    ResizedMap,
    best_labels,
    label_dtype,
    materialise,
    resized,
)

# PyTorch 2.6 rounds the positions of pixels in another order than its newer versions and these maps.
TOLERANCE = 2e-6 if CAN_EXPORT else 1e-3
SIZES = [(7, 9), (1, 1), (13, 1), (33, 20), (56, 72), (4, 5), (3, 17), (100, 101)]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("source", "target"), list(itertools.product([(7, 9), (1, 6), (32, 21)], SIZES)))
def test_resized_bands_are_those_of_interpolate(source, target, align_corners):
    logits = torch.randn(5, *source, dtype=torch.float64).float()
    expected = F.interpolate(logits[None], size=target, mode="bilinear", align_corners=align_corners)[0]
    scores = resized(DenseMap(logits), target, align_corners=align_corners)
    for rows in (1, 3, 200):
        bands = [scores.rows(a, min(a + rows, target[0])) for a in range(0, target[0], rows)]
        torch.testing.assert_close(torch.cat(bands, dim=1), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("source", "target"), [((45, 60), (360, 480)), ((64, 64), (511, 333)), ((90, 70), (31, 45))])
def test_labels_of_a_resized_map_are_the_argmax_of_interpolate(source, target, align_corners):
    logits = torch.randn(19, *source)
    expected = F.interpolate(logits[None], size=target, mode="bilinear", align_corners=align_corners)[0].argmax(0)
    result = best_labels(resized(DenseMap(logits), target, align_corners=align_corners)).mask
    assert result.dtype == torch.uint8
    # Where the two best classes are closer than float32 rounding, either may win.
    assert (result != expected).float().mean() < 1e-5


def test_rows_far_from_the_origin_have_the_weights_of_interpolate():
    logits = torch.randn(2, 2049, 1)
    expected = F.interpolate(logits[None], size=(9001, 1), mode="bilinear")[0]
    torch.testing.assert_close(
        ResizedMap(DenseMap(logits), (9001, 1), align_corners=False).rows(8900, 9001),
        expected[:, 8900:],
        rtol=0,
        atol=TOLERANCE,
    )


def test_a_map_that_has_the_size_is_not_resized():
    source = DenseMap(torch.randn(3, 4, 5))
    assert resized(source, (4, 5), align_corners=False) is source


def test_two_resizes_follow_one_another():
    logits = torch.randn(4, 8, 11)
    first = F.interpolate(logits[None], size=(61, 83), mode="bilinear")
    expected = F.interpolate(first, size=(40, 97), mode="bilinear")[0]
    chain = ResizedMap(ResizedMap(DenseMap(logits), (61, 83), align_corners=False), (40, 97), align_corners=False)
    bands = torch.cat([chain.rows(a, a + 5) for a in range(0, 40, 5)], dim=1)
    torch.testing.assert_close(bands, expected, rtol=0, atol=2e-6)


def test_flipped_maps_exchange_sides_and_paired_classes():
    logits = torch.randn(3, 4, 6)
    flipped = materialise(FlippedMap(DenseMap(logits), [(1, 2)]))
    assert torch.equal(flipped[0], logits[0].flip(-1))
    assert torch.equal(flipped[1], logits[2].flip(-1))
    assert torch.equal(flipped[2], logits[1].flip(-1))


@pytest.mark.parametrize("band", [4 * 6 * 97 * height for height in (16, 17, 40, 64)])  # bytes
def test_one_tensor_is_filled_a_band_at_a_time(band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_map, "CPU_BAND_BYTES", band)
    logits = torch.randn(6, 11, 13)
    read: list[int] = []

    class Noted(DenseMap):
        def rows(self, start: int, stop: int) -> torch.Tensor:
            read.append(stop - start)
            return super().rows(start, stop)

    found = materialise(ResizedMap(Noted(logits), (40, 97), align_corners=False))
    expected = F.interpolate(logits[None], (40, 97), mode="bilinear")[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)
    assert max(read) < 11 or read == [11]


def test_mean_of_probabilities_and_their_scores():
    one, two = torch.randn(6, 5, 7), torch.randn(6, 5, 7)
    expected = (one.softmax(0) + two.softmax(0)) / 2
    scores = MeanMap([ProbabilityMap(DenseMap(one)), ProbabilityMap(DenseMap(two))])
    torch.testing.assert_close(materialise(scores), expected)
    labels = best_labels(scores, with_scores=True, band_rows=2)
    assert torch.equal(labels.mask.long(), expected.argmax(0))
    torch.testing.assert_close(labels.scores, expected.amax(0))


def test_scores_of_logits_are_probabilities():
    logits = torch.randn(6, 5, 7)
    labels = best_labels(DenseMap(logits), with_scores=True)
    torch.testing.assert_close(labels.scores, logits.softmax(0).amax(0))
    assert best_labels(DenseMap(logits)).scores is None


@pytest.mark.parametrize(("classes", "dtype"), [(2, torch.uint8), (255, torch.uint8), (256, torch.int16)])
def test_labels_take_the_smallest_type_that_leaves_255_free(classes, dtype):
    assert label_dtype(classes) == dtype
    logits = torch.zeros(classes, 1, 1)
    logits[-1] = 1
    assert best_labels(DenseMap(logits)).mask.item() == classes - 1
