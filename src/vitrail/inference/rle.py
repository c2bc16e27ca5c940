"""COCO run-length encoding (RLE) of masks in NumPy.

A mask is read column by column; the encoding is the list of the lengths of its runs, starting with a (perhaps empty)
run of zeros. The compressed form writes each length in base 32 as the difference from the length two places before.

References
----------
The format is that of the COCO API, github.com/cocodataset/cocoapi (`maskApi.c`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Runs(NamedTuple):
    """Runs of equal values in a mask that is read column by column."""

    starts: np.ndarray
    lengths: np.ndarray
    values: np.ndarray
    pixels: int


def find_runs(mask: np.ndarray) -> Runs:
    """Return the runs of a mask [H, W], for all of its values at once."""
    flat = mask.ravel(order="F")
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(np.append(starts, flat.size))
    return Runs(starts, lengths, flat[starts], flat.size)


def run_lengths(runs: Runs, value: int) -> list[int]:
    """Return the uncompressed encoding of the pixels that have `value`."""
    chosen = runs.values == value
    starts, lengths = runs.starts[chosen], runs.lengths[chosen]
    ends = np.concatenate([[0], starts + lengths])
    counts = np.stack([starts - ends[:-1], lengths], axis=1).reshape(-1).tolist()
    rest = runs.pixels - int(ends[-1])
    return [*counts, rest] if rest else counts


def compress(counts: Sequence[int]) -> str:
    """Return the compressed encoding, as in the result files of COCO."""
    letters = []
    for index, count in enumerate(counts):
        number = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            digit = number & 0x1F
            number >>= 5
            more = number != (-1 if digit & 0x10 else 0)
            letters.append(chr(48 + digit + (0x20 if more else 0)))
    return "".join(letters)
