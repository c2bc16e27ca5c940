"""Polygons cover the pixels of their class exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vitrail.inference.polygons import class_polygons
from vitrail.inference.prediction import Prediction


def prediction(mask: np.ndarray) -> Prediction:
    palette = ((255, 0, 16), (0, 128, 0), (1, 2, 3))
    return Prediction(mask, ("a", "b", "c"), palette, np.zeros((*mask.shape, 3), np.uint8))


def winding(ring: list, shape: tuple[int, int]) -> np.ndarray:
    """The number of times that a ring runs clockwise around the centre of each pixel, from its upright sides."""
    result = np.zeros(shape, int)
    for (x, y), (other_x, other_y) in zip(ring, [*ring[1:], ring[0]], strict=True):
        assert x == other_x or y == other_y
        result[min(y, other_y) : max(y, other_y), x:] += np.sign(y - other_y)
    return result


def signed_area(ring: list) -> float:
    x, y = np.array(ring, float).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def test_a_square_with_a_hole_with_an_island() -> None:
    mask = np.zeros((9, 11), np.uint8)
    mask[1:8, 2:9] = 1
    mask[2:7, 3:8] = 0
    mask[4, 5] = 1
    outer, island = class_polygons(mask, 1)
    assert sorted(outer.exterior) == [(2, 1), (2, 8), (9, 1), (9, 8)] and island.holes == []
    assert [sorted(hole) for hole in outer.holes] == [[(3, 2), (3, 7), (8, 2), (8, 7)]]
    assert sorted(island.exterior) == [(5, 4), (5, 5), (6, 4), (6, 5)]
    assert signed_area(outer.exterior) == 49 and signed_area(outer.holes[0]) == -25


def test_pixels_that_touch_at_a_corner_are_two_regions() -> None:
    assert len(class_polygons(np.eye(2, dtype=np.uint8), 1)) == 2
    assert class_polygons(np.eye(2, dtype=np.uint8), 2) == []


@pytest.mark.parametrize("seed", range(6))
def test_the_polygons_of_random_masks_cover_each_class_exactly(seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 3, (13, 17), dtype=np.uint8)
    for index in range(3):
        polygons = class_polygons(mask, index)
        covered = np.zeros(mask.shape, int)
        for polygon in polygons:
            region = winding(polygon.exterior, mask.shape)
            for hole in polygon.holes:
                region += winding(hole, mask.shape)
            assert set(np.unique(region)) <= {0, 1}
            covered += region
        assert np.array_equal(np.abs(covered), (mask == index).astype(int))


def test_geojson_is_closed_upright_and_turns_as_the_standard_says() -> None:
    mask = np.zeros((6, 8), np.uint8)
    mask[0:3, 1:6] = 1
    mask[1, 2:4] = 0
    collection = json.loads(json.dumps(prediction(mask).to_geojson()))
    assert collection["type"] == "FeatureCollection"
    (feature,) = [each for each in collection["features"] if each["properties"]["name"] == "b"]
    assert feature["properties"] == {"class": 1, "name": "b", "colour": "#008000"}
    exterior, hole = feature["geometry"]["coordinates"]
    assert exterior[0] == exterior[-1] and hole[0] == hole[-1]
    assert signed_area(exterior[:-1]) == 15 and signed_area(hole[:-1]) == -2
    assert {y for _, y in exterior} == {3, 6}  # the upper half of the image
