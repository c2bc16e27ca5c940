"""vitrail's own model files: the weights and all that prediction needs, in one .safetensors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vitrail.checkpoints.imports import imports_of, required_imports
from vitrail.checkpoints.state import load_state, model_state
from vitrail.errors import CheckpointError
from vitrail.files.atomic import atomic_path
from vitrail.segmentors import ModelCard, Segmentor
from vitrail.segmentors.build import build_model

FORMAT = 1
METADATA_KEY = "vitrail"


def save_model(model: Segmentor, path: str | Path) -> None:
    """Write a model to one self-describing .safetensors file, whole or not at all.

    Parameters
    ----------
    model : Segmentor
        Its `card` must be set and hold the recipe, so that `load_model` can build the model again.
    path : path
        The file, replaced when it exists.

    Raises
    ------
    CheckpointError
        When the model has no card or the file cannot be written; what was at `path` before is then still there.
    """
    if model.card is None or not model.card.recipe.get("model"):
        raise CheckpointError(
            f"cannot save to {path}: the model's card does not say how it is built; "
            "assign model.card a ModelCard that holds the recipe"
        )
    tensors, aliases = _without_sharing(model_state(model))
    card = replace(model.card, imports=required_imports(model.card.recipe))
    described = {"format": FORMAT, "card": card.to_dict(), "aliases": aliases}
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={METADATA_KEY: json.dumps(described), "format": "pt"})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write {path}: {error}") from error


def load_model(path: str | Path, *, trust_imports: bool = False) -> Segmentor:
    """Rebuild a model from a file that `save_model` wrote.

    Parameters
    ----------
    path : path
        The .safetensors file.
    trust_imports : bool
        Import the modules that the file names, if it needs any; otherwise they have to be installed plugins or
        imported already.

    Returns
    -------
    Segmentor
        On the CPU, in evaluation mode, with `card` set.

    Raises
    ------
    CheckpointError
        When the file is missing, is no model file or a damaged one, or when its weights do not fit its description.
    PluginError
        When it needs a module that is not imported; the message says which, and how to allow it.
    """
    described, tensors = _read(Path(path))
    card = read_card(described, str(path))
    settings = dict(card.recipe["model"], pretrained=False)
    count = settings.get("num_classes") or len(card.classes)
    if count != len(card.classes):
        raise CheckpointError(f"{path}: its recipe says {count} classes, but it names {len(card.classes)}")
    with imports_of(card, str(path), trust=trust_imports):
        model = build_model(settings, count)
    for alias, name in described.get("aliases", {}).items():
        tensors[alias] = tensors[name]
    load_state(model, tensors, str(path))
    model.card = card
    return model.eval()


def read_card(described: dict[str, Any], source: str) -> ModelCard:
    """Return the card in a model file's description.

    Raises
    ------
    CheckpointError
        When a newer vitrail wrote it or a part is missing.
    """
    if described.get("format", 0) > FORMAT:
        raise CheckpointError(
            f"{source} was written by a newer vitrail (format {described['format']}): upgrade vitrail"
        )
    try:
        card = ModelCard.from_dict(described["card"])
        card.recipe["model"]["segmentor"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{source}: its model card is incomplete ({type(error).__name__}: {error})") from error
    return card


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"no model file at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if METADATA_KEY not in metadata:
                raise CheckpointError(
                    f"{path} holds tensors but no vitrail model card: it was not written by vitrail's save_model"
                )
            described = json.loads(metadata[METADATA_KEY])
            return described, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is damaged or not a model file: {error}") from error


def _without_sharing(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors to write, each with memory of its own, and which names are the same tensor as another."""
    tensors: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    views: dict[tuple[Any, ...], str] = {}
    storages: set[int] = set()
    for name, tensor in state.items():
        storage = tensor.untyped_storage().data_ptr()
        view = (storage, tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if view in views and tensor.numel():
            aliases[name] = views[view]
            continue
        views[view] = name
        plain = tensor.detach().cpu().contiguous()
        tensors[name] = plain.clone() if storage in storages else plain
        storages.add(storage)
    return tensors, aliases
