"""Reading of local weight files for encoders: tensors only, nothing is executed."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from vitrail.errors import ModelError

# Keys under which training programs keep the parameters of the model.
_WRAPPERS = ("state_dict", "model", "state_dict_ema", "model_ema")
_PREFIXES = ("module.", "backbone.", "_orig_mod.")


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read parameters from a .safetensors or PyTorch file, out of the usual wrappings.

    Raises
    ------
    ModelError
        When the file is missing, is no checkpoint, holds anything but plain data, or no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there is no file {path} to read pretrained weights from")
    try:
        if path.suffix == ".safetensors":
            loaded: Any = safetensors.torch.load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise ModelError(f"{path} is not a file of plain tensors, or it is damaged: {error}") from error
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    tensors = {k: v for k, v in loaded.items() if isinstance(v, Tensor)} if isinstance(loaded, Mapping) else {}
    if not tensors:
        raise ModelError(f"{path} holds no parameters by name")
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: value for name, value in tensors.items()}
    return tensors


def load_local(backbone: nn.Module, name: str, pretrained: bool | str | Path) -> None:
    """Load a local file into an encoder of our own; parameters of a classifier that it lacks are left out.

    Raises
    ------
    ModelError
        When weights are asked for that nobody publishes, or the file is not for this encoder.
    """
    if pretrained is False:
        return
    if pretrained is True:
        raise ModelError(f"no weights of {name!r} can be downloaded: give a local file as pretrained=PATH")
    state = read_state_dict(pretrained)
    wanted = backbone.state_dict()
    missing = [key for key in wanted if key not in state]
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or wrong:
        problem = f"{missing[0]!r} is missing" if missing else f"{wrong[0]!r} has shape {tuple(state[wrong[0]].shape)}"
        raise ModelError(f"{pretrained} does not hold the weights of {name!r}: {problem}")
    backbone.load_state_dict({key: state[key] for key in wanted})
