"""Build the card of a model that was trained elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vitrail.datasets.label_sets import label_set, list_label_sets
from vitrail.errors import CheckpointError
from vitrail.segmentors import ModelCard
from vitrail.visualize.palette import distinct_colours


def card_from_recipe(
    recipe: Mapping[str, Any],
    *,
    source: str,
    license: str,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    miou: float | None = None,
) -> ModelCard:
    """Return the card of a model that a recipe describes.

    Parameters
    ----------
    recipe : mapping
        As plain data, its `model.num_classes` set.
    source, license : str
        Where the weights come from, and their licence.
    classes : sequence of str, optional
        Class names; None takes those of the recipe's dataset.
    palette : sequence of (int, int, int), optional
        Colours; None takes those of the dataset where the classes are its own, and makes some up otherwise.
    miou : float, optional
        The published figure, a fraction.

    Raises
    ------
    CheckpointError
        When the names of the classes are unknown, or there is another number of them than the model has.
    """
    wanted, dataset = recipe["model"]["num_classes"], recipe["data"]["dataset"]
    known = label_set(dataset) if dataset in list_label_sets() else None
    if classes is None:
        if known is None:
            raise CheckpointError(f"the names of the {wanted} classes of the model {recipe['name']!r} are unknown")
        classes = known.classes
        palette = palette or known.palette
    if len(classes) != wanted and (wanted, len(classes)) != (1, 2):  # two classes told apart by one output
        raise CheckpointError(f"the model {recipe['name']!r} has {wanted} classes, but {len(classes)} are named")
    if palette is None or len(palette) != len(classes):
        palette = distinct_colours(len(classes))
    data = recipe["data"]
    normalisation: dict[str, Any] = {key: tuple(data[key]) for key in ("mean", "std") if key in data}
    return ModelCard(
        classes=tuple(map(str, classes)),
        palette=tuple((int(r), int(g), int(b)) for r, g, b in palette),
        recipe=dict(recipe),
        name=recipe["name"],
        source=source,
        license=license,
        metrics={} if miou is None else {"miou": miou},
        **normalisation,
    )
