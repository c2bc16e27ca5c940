"""A fingerprint of a dataset's contents, by which a run that is resumed notices that they have changed."""

from __future__ import annotations

import hashlib
from typing import Any

from torch import Tensor

from vitrail.datasets.dataset import SegmentationDataset
from vitrail.errors import DatasetError

SAMPLES = 8


def fingerprint(dataset: SegmentationDataset) -> dict[str, str]:
    """Return hashes of a few images, spread evenly over a dataset in files, each with its mask.

    Images count byte for byte, masks by their class indices, before any transform. Images that cannot be read are left
    out: who uses them gets the error.

    Parameters
    ----------
    dataset : SegmentationDataset
        Any; one that is not in files has no fingerprint.

    Returns
    -------
    dict
        SHA-256 by image id.
    """
    source: Any = dataset.source
    while hasattr(source, "source"):  # of other classes
        source = source.source
    files, pairs = getattr(source, "files", None), getattr(source, "pairs", ())
    if files is None:
        return {}
    found = {}
    for index in sorted({place * len(pairs) // SAMPLES for place in range(SAMPLES)}):
        try:
            data = files.read(pairs[index].image)
            mask = dataset.source.load(index)[1].as_subclass(Tensor)
        except DatasetError:
            continue
        shape = str(tuple(mask.shape)).encode()
        found[dataset.ids[index]] = hashlib.sha256(b"".join([data, shape, mask.numpy().tobytes()])).hexdigest()
    return found
