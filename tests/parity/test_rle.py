"""Run-length codes against COCO's own library."""

from __future__ import annotations

import numpy as np
import pytest

from vitrail.inference.prediction import Prediction
from vitrail.inference.rle import compress, find_runs, run_lengths

pytestmark = pytest.mark.parity
coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (37, 53), (300, 400)])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_codes_areas_and_boxes_are_cocos(size: tuple[int, int], density: float) -> None:
    mask = (np.random.default_rng(0).random(size) < density).astype(np.uint8)
    counts = run_lengths(find_runs(mask), 1)
    reference = coco.encode(np.asfortranarray(mask))
    assert compress(counts) == reference["counts"].decode()
    assert np.array_equal(coco.decode(coco.frPyObjects({"size": list(size), "counts": counts}, *size)), mask)


def test_annotations_are_cocos() -> None:
    mask = np.kron(np.random.default_rng(1).integers(0, 4, (9, 11)), np.ones((7, 5), int)).astype(np.uint8)
    prediction = Prediction(mask, ("a", "b", "c", "d"), ((0, 0, 1),) * 4, np.zeros((*mask.shape, 3), np.uint8))
    annotations = prediction.to_coco(image_id=7)
    assert [annotation["category_id"] for annotation in annotations] == sorted(set(mask.ravel().tolist()))
    for annotation in annotations:
        code = {**annotation["segmentation"], "counts": annotation["segmentation"]["counts"].encode()}
        assert np.array_equal(coco.decode(code), mask == annotation["category_id"])
        assert coco.area(code) == annotation["area"]
        assert coco.toBbox(code).tolist() == annotation["bbox"]
