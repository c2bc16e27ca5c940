"""Tensors from a local file of either kind: .safetensors or what `torch.save` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from vitrail.errors import CheckpointError
from vitrail.files.torch_file import read_pickle


def is_safetensors(path: Path) -> bool:
    """Return whether a file starts as a .safetensors file does: the length of a JSON header, then its brace."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{"


def read_tensors(path: str | Path) -> dict[str, Any]:
    """Read a file of weights, recognised by its content; nothing in it is executed.

    Parameters
    ----------
    path : path
        A .safetensors file, or a checkpoint that `torch.save` wrote.

    Returns
    -------
    dict
        The tensors by name; of a `torch.save` file the dictionary that it holds, as `read_pickle` returns it.

    Raises
    ------
    CheckpointError
        When the file is missing, damaged, unsafe or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no file of weights at {path}")
    try:
        if not is_safetensors(path):
            return read_pickle(path)
        return dict(safetensors.torch.load_file(path))
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged or cannot be read: {error}") from error
