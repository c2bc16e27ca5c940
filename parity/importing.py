"""Models of other toolboxes as vitrail's importers make them, without files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vitrail.checkpoints.cards import card_from_recipe
from vitrail.checkpoints.sources.mmseg import MMSEG
from vitrail.checkpoints.sources.source import convert
from vitrail.checkpoints.sources.ssseg import SSSEG
from vitrail.checkpoints.sources.ssseg.config import recipe_from_config
from vitrail.segmentors import ModelCard, Segmentor


def import_model(
    toolbox: str,
    settings: str,
    tensors: Mapping[str, Tensor],
    *,
    name: str,
    classes: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Segmentor:
    """Return the model that the importer of a toolbox makes of a checkpoint.

    Parameters
    ----------
    toolbox : str
        "mmseg" or "ssseg".
    settings : str
        What says how the model is built; see `Reference.settings`.
    tensors : mapping
        The weights under their names in the toolbox.
    name : str
        For messages.
    classes : int, optional
        K, where the classes are not those of the dataset.
    changes : mapping, optional
        Keys of the recipe's model section that differ from what the settings say; mappings are merged.
    """
    names = None if classes is None else [f"class {index}" for index in range(classes)]
    if toolbox == "mmseg":
        meta = {"cfg": settings, "experiment_name": name}
        content = {"state_dict": tensors, "meta": {**meta, "dataset_meta": {"classes": names}}}
        importer, card = MMSEG, MMSEG.card(content, name)
        assert card is not None
    else:
        content = {"model": tensors}
        recipe = recipe_from_config(json.loads(settings), name)
        importer, card = SSSEG, card_from_recipe(recipe, source=toolbox, license="Apache-2.0", classes=names)
    return convert(importer.weights(content), _changed(card, changes or {}), importer, name)


def _changed(card: ModelCard, changes: Mapping[str, Any]) -> ModelCard:
    section = card.recipe["model"]
    for key, value in changes.items():
        section[key] = {**section.get(key, {}), **value} if isinstance(value, Mapping) else value
    return card
