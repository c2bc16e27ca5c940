"""Published models on hubs: torchvision's, EfficientViT's, and those on the Hugging Face hub that vitrail can build.

The table `hubs.csv` holds names, figures and licences; how a model is built is said in its own folder, which is fetched
by name, but for EfficientViT's. A licence that its page alone tells is left empty.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from pathlib import Path

from vitrail.checkpoints.index import Entry
from vitrail.checkpoints.sources.efficientvit_authors import EFFICIENTVIT, published_recipe

HUBS = {
    "efficientvit": "EfficientViT's authors",
    "hf": "Hugging Face hub",
    "smp-hub": "segmentation_models_pytorch",
    "torchvision": "torchvision",
}
# Pages of models whose names do not lead to one.
_PAGES = {
    "efficientvit": "https://huggingface.co/han-cai/efficientvit-seg",
    "torchvision": "https://docs.pytorch.org/vision/stable/models.html",
}


@functools.cache
def hub_models() -> Mapping[str, Entry]:
    """Return the models by the names that `vitrail.load` takes."""
    with Path(__file__).with_name("hubs.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: _entry(row) for row in csv.DictReader(file)}


def _entry(row: Mapping[str, str]) -> Entry:
    name = row["name"]
    page = _PAGES.get(name.partition("/")[0], f"https://huggingface.co/{name.removeprefix('hf/')}")
    return Entry(
        name,
        row["method"],
        row["backbone"],
        row["dataset"],
        page,
        miou=float(row["miou"]) if row["miou"] else None,
        recipe=published_recipe(name.removeprefix(EFFICIENTVIT)) if name.startswith(EFFICIENTVIT) else {},
        license=row["license"],
    )
