"""The content of a checkpoint file: tensors and metadata, before it is known which project wrote it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from vitrail.errors import CheckpointError
from vitrail.files.json_text import parse_json
from vitrail.files.regular import read_regular
from vitrail.files.torch_file import read_pickle
from vitrail.files.weights_file import is_safetensors

_WEIGHTS = ("state_dict", "model")  # where training code keeps the weights among other things that it saves
_WRAPPED = re.compile(r"\A(?:module\.|_orig_mod\.)+")  # before names in models that are distributed or compiled
_MAX_CONFIG = 4 << 20  # bytes


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint file.

    Attributes
    ----------
    tensors : mapping from str to Any
        The weights under their names in the file, without the "module." of models that were trained on several
        devices and the "_orig_mod." of compiled ones. Nothing has checked yet that all of them are tensors.
    metadata : mapping from str to Any
        Everything else in the file: the header of a .safetensors file (text), or what a file of `torch.save` holds
        beside the weights.
    origin : Path
        The file.
    """

    tensors: Mapping[str, Any]
    metadata: Mapping[str, Any]
    origin: Path

    @cached_property
    def config(self) -> Mapping[str, Any] | None:
        """What the file `config.json` in the same folder holds, or None when there is none; see `beside`."""
        return self.beside("config.json")

    def beside(self, name: str) -> Mapping[str, Any] | None:
        """Return what a JSON file in the same folder holds, or None when there is none.

        Raises
        ------
        CheckpointError
            When it is not a JSON object, or larger than a configuration can be.
        """
        path = self.origin.parent / name
        if not path.is_file():
            return None
        data = read_regular(path, CheckpointError, what="the configuration ", limit=_MAX_CONFIG)
        config = parse_json(data, str(path), CheckpointError)
        if not isinstance(config, dict):
            raise CheckpointError(f"{path} is not a JSON object")
        return config


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a .safetensors file, or one that `torch.save` wrote, as data: nothing in it is run or followed.

    Raises
    ------
    CheckpointError
        When the file is missing, damaged, unsafe, or of another kind.
    """
    if not path.is_file():
        raise CheckpointError(f"no model file at {path}")
    return _read_safetensors(path) if is_safetensors(path) else _read_torch_file(path)


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return Checkpoint(tensors, file.metadata() or {}, path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or not a model file: {error}") from error


def _read_torch_file(path: Path) -> Checkpoint:
    content = read_pickle(path)
    key = next((key for key in _WEIGHTS if isinstance(content.get(key), Mapping)), None)
    weights = content if key is None else content[key]
    tensors = {_WRAPPED.sub("", str(name)): value for name, value in weights.items()}
    if len(tensors) < len(weights):
        raise CheckpointError(f"{path} holds weights under the same name with and without 'module.' before it")
    metadata = {} if key is None else {str(name): value for name, value in content.items() if name != key}
    return Checkpoint(tensors, metadata, path)
