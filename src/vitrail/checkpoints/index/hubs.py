"""Published models on hubs: torchvision's, and those of the Hugging Face hub whose architecture vitrail has.

The table `hubs.csv` holds names, figures and licences; how a model is built is said in its own folder, which is fetched
by name. A licence that its page alone tells is left empty.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from pathlib import Path

from vitrail.checkpoints.index import Entry

HUBS = {"hf": "Hugging Face hub", "smp-hub": "segmentation_models_pytorch", "torchvision": "torchvision"}


@functools.cache
def hub_models() -> Mapping[str, Entry]:
    """Return the models by the names that `vitrail.load` takes."""
    with Path(__file__).with_name("hubs.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: _entry(row) for row in csv.DictReader(file)}


def _entry(row: Mapping[str, str]) -> Entry:
    name = row["name"]
    page = name.removeprefix("hf/")
    url = "https://docs.pytorch.org/vision/stable/models.html" if name.startswith("torchvision/") else ""
    return Entry(
        name,
        row["method"],
        row["backbone"],
        row["dataset"],
        url or f"https://huggingface.co/{page}",
        miou=float(row["miou"]) if row["miou"] else None,
        license=row["license"],
    )
