"""Noise that all scenes share, made once per process from fixed seeds."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

FloatArray = npt.NDArray[np.float32]
_TILE = 512


@cache
def clouds(seed: int) -> FloatArray:
    """Fractal noise in 0…1, [512, 512], which repeats seamlessly."""
    generator = np.random.default_rng(seed)
    total = np.zeros((_TILE, _TILE), np.float32)
    for octave in range(2, 9):
        cells = 2**octave
        grid = generator.random((cells, cells)).astype(np.float32)
        total += _enlarge(np.pad(grid, 2, mode="wrap"), cells) * 0.55**octave
    low, high = np.quantile(total, [0.005, 0.995])
    return np.clip((total - low) / (high - low), 0, 1).astype(np.float32)


@cache
def grain() -> FloatArray:
    """Film grain: normal noise of unit deviation, slightly smoothed, [1024, 1024]."""
    noise = np.random.default_rng(7).standard_normal((1025, 1025)).astype(np.float32)
    smooth = noise[:-1, :-1] * 0.6 + noise[1:, :-1] * 0.25 + noise[:-1, 1:] * 0.25
    return smooth / smooth.std()


@cache
def asphalt() -> FloatArray:
    """Fine and coarse grain of a road surface around 1, [512, 512], which repeats seamlessly."""
    speckle = np.random.default_rng(11).standard_normal((_TILE, _TILE)).astype(np.float32)
    return (1 + 0.055 * speckle + 0.22 * (clouds(12) - 0.5)).astype(np.float32)


def sample(tile: FloatArray, rows: npt.NDArray[np.floating], columns: npt.NDArray[np.floating]) -> FloatArray:
    """Look up a repeating tile at any coordinates, in pixels of the tile."""
    height, width = tile.shape
    return tile[rows.astype(np.int32) % height, columns.astype(np.int32) % width]


def _enlarge(padded: FloatArray, cells: int) -> FloatArray:
    factor = _TILE // cells
    size = (cells + 4) * factor
    image = Image.fromarray(padded).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)[2 * factor : 2 * factor + _TILE, 2 * factor : 2 * factor + _TILE]
