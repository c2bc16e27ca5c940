"""Getting a ready model from a name, a file or an address."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from vitrail.errors import CheckpointError, nearest
from vitrail.segmentors import Segmentor
from vitrail.zoo.cgnet import CGNET_AUTHORS
from vitrail.zoo.download import download
from vitrail.zoo.importer import Importer, convert
from vitrail.zoo.modelfile import is_safetensors, load_model, save_model
from vitrail.zoo.torchfile import read_pickle

IMPORTERS: tuple[Importer, ...] = (CGNET_AUTHORS,)


def shipped_models() -> Mapping[str, Path]:
    """Return the models that come with the package: their files by name."""
    folder = Path(__file__).parent / "weights"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def load(name: str | Path, *, device: str | torch.device = "cpu") -> Segmentor:
    """Return a model that is ready to predict.

    Parameters
    ----------
    name : str or path
        A model that comes with the package, by name; a local file: vitrail's .safetensors or another project's
        checkpoint, recognised by its content; or the http(s) address of such a file.
    device : str or torch.device
        Where to put it.

    Returns
    -------
    Segmentor
        In evaluation mode, with `card` set: classes, palette, recipe, origin.

    Raises
    ------
    CheckpointError
        For an unknown name (the nearest known one is suggested), and for a file that is missing, damaged, unsafe, of
        an unknown kind, or does not fit the model it describes.

    Examples
    --------
    >>> model = load("runs/fastscnn_camvid/best.safetensors")
    """
    return load_file(_locate(str(name))).to(device)


def load_file(path: Path) -> Segmentor:
    """Return the model in a local file of any supported kind, on the CPU."""
    if is_safetensors(path):
        return load_model(path)
    content = read_pickle(path)
    for importer in IMPORTERS:
        if importer.recognise(content):
            return convert(content, importer, str(path))
    keys = ", ".join(sorted(str(key) for key in content)[:5])
    known = ", ".join(importer.source for importer in IMPORTERS)
    raise CheckpointError(
        f"{path} is a checkpoint of an unknown kind (it holds: {keys}); known are vitrail's and {known}"
    )


def convert_file(source: str | Path, target: str | Path) -> str:
    """Write whatever `load` reads as one self-describing .safetensors file; return a line that says what it is.

    Raises
    ------
    CheckpointError
        As `load` does, and when `target` has another suffix or cannot be written.
    """
    if Path(target).suffix != ".safetensors":
        raise CheckpointError(f"a converted model is a .safetensors file, not {target}")
    model = load(source)
    save_model(model, target)
    card = model.card
    name = card.name if card and card.name else Path(source).stem
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return f"{name}: {model.num_classes} classes, {parameters:,} parameters"


def _locate(name: str) -> Path:
    if name.startswith(("http://", "https://")):
        return download(name)
    path, shipped = Path(name), shipped_models()
    if path.is_file():
        return path
    if name in shipped:
        return shipped[name]
    if path.is_dir():
        raise CheckpointError(f"{name} is a folder; give a model file in it, such as best.safetensors")
    if path.suffix or (path.parent.is_dir() and len(path.parts) > 1):
        raise CheckpointError(f"no model file at {name}")
    known = ", ".join(shipped) or "none"
    raise CheckpointError(f"unknown model {name!r}.{nearest(name, shipped)} Shipped models: {known}; or give a file.")
