"""Models of other toolboxes as vitrail's importers make them, without files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vitrail.checkpoints.cards import card_from_recipe
from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.class_names import name_classes
from vitrail.checkpoints.sources.mmseg.source import renaming as mmseg_renaming
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.source import SOURCES
from vitrail.checkpoints.sources.ssseg.config import recipe_from_config
from vitrail.checkpoints.sources.ssseg.source import renaming as ssseg_renaming
from vitrail.layers.skip_init import SkipRandomInit
from vitrail.recipes import ModelConfig, model_config_from_dict
from vitrail.segmentors import ModelCard, Segmentor, build_model


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
    return import_with_card(toolbox, settings, tensors, name=name, classes=names, changes=changes)[0]


def import_with_card(
    toolbox: str,
    settings: str,
    tensors: Mapping[str, Tensor],
    *,
    name: str,
    classes: Sequence[str] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> tuple[Segmentor, ModelCard]:
    """Return what `import_model` returns, and the card, whose recipe holds the model, losses and data of the settings.

    `classes` are the names of the classes, where they are not those of the dataset.
    """
    meta = {"cfg": settings, "experiment_name": name, "dataset_meta": {"classes": classes}}
    checkpoint = Checkpoint(tensors, {"meta": meta}, Path(name))
    source = SOURCES[toolbox]
    if toolbox == "mmseg":
        card, _ = source.translate(checkpoint, None)
    else:
        recipe = recipe_from_config(json.loads(settings), name)
        card = card_from_recipe(recipe, source=source.title, license="Apache-2.0", classes=classes)
    card, state = source.translate(checkpoint, _changed(card, changes or {}))
    card, state = name_classes(card, state, name)
    with SkipRandomInit():
        model = build_model(model_config_from_dict(card.recipe["model"]), len(card.classes))
    model.load_state_dict(state, strict=True)
    return model, card


def _changed(card: ModelCard, changes: Mapping[str, Any]) -> ModelCard:
    section = dict(card.recipe["model"])
    for key, value in changes.items():
        section[key] = {**section.get(key, {}), **value} if isinstance(value, Mapping) else value
    return replace(card, recipe={**card.recipe, "model": section})


def import_encoder(
    ours: nn.Module,
    tensors: Mapping[str, Tensor],
    toolbox: str,
    backbone: str,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Load the tensors of another toolbox's encoder, and of a neck over it, into ours.

    Parameters
    ----------
    ours : Module
        The encoder to load into.
    tensors : mapping
        Under the toolbox's names; those of a neck begin with "neck.".
    toolbox : str
        "mmseg" or "ssseg".
    backbone : str
        What we call the encoder.
    options : mapping, optional
        The recipe's `backbone_options` that its tensors' names depend on.
    """
    renamings: Mapping[str, Any] = {"mmseg": mmseg_renaming, "ssseg": ssseg_renaming}
    prefix = {"mmseg": "backbone.", "ssseg": "backbone_net."}[toolbox]
    given = dict(options or {})
    if any(name.startswith("neck.") for name in tensors):
        given["pyramid"] = True
    renaming: Renaming = renamings[toolbox](ModelConfig(segmentor="upernet", backbone=backbone, backbone_options=given))
    whole = {name if name.startswith("neck.") else prefix + name: tensor for name, tensor in tensors.items()}
    state = renaming.to_ours(whole, f"the {backbone} of {toolbox}")
    ours.load_state_dict({name.removeprefix("backbone."): tensor for name, tensor in state.items()}, strict=True)
