"""Pretrained weights of encoders from local files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vitrail.errors import CheckpointError, ModelError
from vitrail.files.weights_file import read_tensors

# Keys under which training checkpoints store the parameters.
_WRAPPERS = ("state_dict", "model", "state_dict_ema", "model_ema")
_BACKBONE = "backbone."
_PREFIXES = ("module.", _BACKBONE, "_orig_mod.")


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read an encoder's parameters from a .safetensors or PyTorch file.

    A training checkpoint's `state_dict` or `model` is unpacked, and prefixes such as `module.` and `backbone.` that
    all names have are removed. Nothing in the file is executed.

    Raises
    ------
    CheckpointError
        When the file is missing, damaged or unsafe, or holds no tensors.
    """
    loaded: Any = read_tensors(path)
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    tensors = {k: v for k, v in loaded.items() if isinstance(v, Tensor)} if isinstance(loaded, Mapping) else {}
    if not tensors:
        raise CheckpointError(f"{path} holds no parameters by name")
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: value for name, value in tensors.items()}
    return tensors


def backbone_in(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return the parameters of the encoder in those of a whole segmentation model; None where these are none."""
    found = {name.removeprefix(_BACKBONE): value for name, value in state.items() if name.startswith(_BACKBONE)}
    return found or None


def load_local(backbone: nn.Module, name: str, pretrained: bool | str | Path) -> None:
    """Load a local file into an encoder; parameters that it does not have, such as a classifier's, are ignored.

    Raises
    ------
    ModelError
        For `pretrained=True`, as no weights of these encoders are published, and for the weights of another encoder.
    CheckpointError
        When the file cannot be read.
    """
    if pretrained is False:
        return
    if pretrained is True:
        raise ModelError(f"no weights of {name!r} can be downloaded: give a local file as pretrained=PATH")
    fill(backbone, name, read_state_dict(pretrained), pretrained)


def fill(backbone: nn.Module, name: str, state: Mapping[str, Tensor], pretrained: str | Path) -> None:
    """Give an encoder its parameters, which were read from the file `pretrained`; errors are those of `load_local`."""
    wanted = backbone.state_dict()
    missing = [key for key in wanted if key not in state]
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or wrong:
        problem = f"{missing[0]!r} is missing" if missing else f"{wrong[0]!r} has shape {tuple(state[wrong[0]].shape)}"
        raise ModelError(
            f"{pretrained} does not hold the weights of {name!r}: {problem}. What fits of a whole trained model, of "
            "any project, is taken by train.start_from (--from on the command line)"
        )
    backbone.load_state_dict({key: state[key] for key in wanted})
