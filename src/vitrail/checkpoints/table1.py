"""Table 1 of SSSegmentation's paper: every published figure, the recipe that trains its model, and the checkpoint.

References
----------
Z. Jin, "SSSegmentation: An Open Source Supervised Semantic Segmentation Toolbox Based on PyTorch", arXiv:2305.17091.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitrail.checkpoints.index import index
from vitrail.files.text_table import aligned
from vitrail.recipes import list_recipes

_FILE = Path(__file__).parent / "index" / "table1.csv"
_DATASETS = ("ade20k", "voc", "cityscapes")


@dataclass(frozen=True)
class PublishedFigure:
    """A figure of the table.

    Attributes
    ----------
    name : str
        What the recipe is called, whether vitrail has it or not.
    method, backbone : str
        As the table calls them.
    output_stride : int
        As the table gives it.
    dataset : str
        A name of vitrail's.
    miou : float
        The figure, a fraction: one scale, not mirrored.
    recipe : str or None
        The recipe that trains the model; None where vitrail has none.
    checkpoint : str or None
        The published checkpoint; None where vitrail does not load it.
    checkpoint_miou : float or None
        The figure that is published with the checkpoint, which for a few differs from the table's.
    missing : str
        What vitrail lacks; empty where both are there.
    """

    name: str
    method: str
    backbone: str
    output_stride: int
    dataset: str
    miou: float
    recipe: str | None
    checkpoint: str | None
    checkpoint_miou: float | None
    missing: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the figure as JSON-ready data."""
        return asdict(self)


def table1() -> list[PublishedFigure]:
    """Return the figures of the table, in its order."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        return [figure for row in csv.DictReader(file) for figure in _figures(row)]


def _figures(row: dict[str, str]) -> Iterator[PublishedFigure]:
    """Yield the figures in a row of the file, one for each dataset that has one."""
    recipes = set(list_recipes())
    for dataset in _DATASETS:
        if not row[dataset]:
            continue
        name = row["recipe"].format(dataset=dataset)
        entry = index().get(f"ssseg/{name}")
        reasons = (
            "" if name in recipes else "no recipe yet",
            "no published checkpoint" if entry is None else entry.unsupported,
        )
        yield PublishedFigure(
            name=name,
            method=row["method"],
            backbone=row["backbone"],
            output_stride=int(row["stride"]),
            dataset=dataset,
            miou=round(float(row[dataset]) / 100, 6),
            recipe=name if name in recipes else None,
            checkpoint=None if entry is None or entry.unsupported else entry.name,
            checkpoint_miou=None if entry is None else entry.miou,
            missing="; ".join(filter(None, reasons)),
        )


def figures_table(figures: Sequence[PublishedFigure]) -> str:
    """Return a table of figures, a line each, and of how many there are a recipe and a checkpoint."""
    rows = [("method", "backbone", "stride", "dataset", "mIoU", "recipe", "checkpoint")]
    for each in figures:
        names = (each.recipe or "not yet", each.checkpoint or f"not yet: {each.missing}")
        rows.append(
            (each.method, each.backbone, str(each.output_stride), each.dataset, f"{100 * each.miou:.2f}", *names)
        )
    models = {(each.method, each.backbone, each.output_stride) for each in figures}
    reachable = models - {(each.method, each.backbone, each.output_stride) for each in figures if each.missing}
    counts = f"{len(figures)} figures of {len(models)} models; {len(reachable)} of them have recipes and checkpoints"
    return "\n".join([*aligned(rows), "", counts])
