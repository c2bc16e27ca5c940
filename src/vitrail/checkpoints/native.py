"""vitrail's own model files: the weights and all that prediction needs, in one .safetensors."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.imports import required_imports
from vitrail.checkpoints.state import model_state
from vitrail.errors import CheckpointError
from vitrail.files.atomic import atomic_path
from vitrail.files.json_text import parse_json
from vitrail.segmentors import ModelCard, Segmentor

MODEL_FORMAT = 1
BEST = "best.safetensors"  # the best model in the folder of a training
METADATA_KEY = "vitrail"
CHECKSUM = "checksum"


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
    description: dict[str, Any] = {"format": MODEL_FORMAT, "card": card.to_dict(), "aliases": aliases}
    description = json.loads(json.dumps(description))
    description[CHECKSUM] = checksum(description, tensors)
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={METADATA_KEY: json.dumps(description), "format": "pt"})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write {path}: {error}") from error


def read_native(checkpoint: Checkpoint) -> tuple[ModelCard, dict[str, Tensor]]:
    """Return the card and the weights in a file that `save_model` wrote.

    Raises
    ------
    CheckpointError
        When a newer vitrail wrote it, or it is damaged.
    """
    where = str(checkpoint.origin)
    description = read_description(checkpoint)
    card = read_card(description, where)
    count = card.recipe["model"].get("num_classes") or len(card.classes)
    if count != len(card.classes) and (count, len(card.classes)) != (1, 2):  # two classes told apart by one output
        raise CheckpointError(f"{where}: its recipe says {count} classes, but it names {len(card.classes)}")
    tensors = dict(checkpoint.tensors)
    if CHECKSUM in description and description[CHECKSUM] != checksum(description, tensors):
        raise CheckpointError(
            f"{where} is damaged: its content does not have the checksum that it was written with. Copy or download it "
            "again; a training makes its models again from its last state with --resume"
        )
    aliases = description.get("aliases", {})
    if not isinstance(aliases, dict) or not all(isinstance(name, str) and name in tensors for name in aliases.values()):
        raise CheckpointError(f"{where} is damaged: it names tensors that are the same as others it does not have")
    tensors.update((alias, tensors[name]) for alias, name in aliases.items())
    return card, tensors


def checksum(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return the CRC-32, in hexadecimal, of everything in a model file: it finds damage, not forgery.

    Parameters
    ----------
    description : mapping
        What the file says about its model, as JSON has it; a checksum in it does not count.
    tensors : mapping from str to Tensor
        The weights.
    """
    said = {key: value for key, value in description.items() if key != CHECKSUM}
    crc = zlib.crc32(json.dumps(said, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(errors="surrogatepass"), crc)
        crc = zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def read_description(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what a model file says about its model: `format`, `card`, `aliases` and `checksum`.

    Raises
    ------
    CheckpointError
        When the description is damaged.
    """
    text, where = checkpoint.metadata[METADATA_KEY], f"{checkpoint.origin} is damaged: its description"
    description = parse_json(text, where, CheckpointError)
    if not isinstance(description, dict):
        raise CheckpointError(f"{checkpoint.origin} is damaged: its description is not a JSON object")
    return description


def read_card(described: Mapping[str, Any], source: str) -> ModelCard:
    """Return the card in a model file's description.

    Raises
    ------
    CheckpointError
        When a newer vitrail wrote it or a part is missing.
    """
    try:
        if described.get("format", 0) > MODEL_FORMAT:
            raise CheckpointError(
                f"{source} was written by a newer vitrail (format {described['format']}): upgrade vitrail"
            )
        card = ModelCard.from_dict(described["card"])
        card.recipe["model"]["segmentor"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{source}: its model card is incomplete ({type(error).__name__}: {error})") from error
    return card


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
