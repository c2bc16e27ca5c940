"""Getting a ready model from a name, a file or an address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vitrail.checkpoints.index import PROJECTS, Entry, find_by_file, find_by_fingerprint, find_by_name, index
from vitrail.checkpoints.native import load_model, save_model
from vitrail.checkpoints.sources.cgnet_authors import CGNET_AUTHORS
from vitrail.checkpoints.sources.mmseg import MMSEG
from vitrail.checkpoints.sources.source import Importer, convert
from vitrail.checkpoints.sources.ssseg import SSSEG
from vitrail.errors import CheckpointError, nearest
from vitrail.files.download import download
from vitrail.files.torch_file import read_pickle
from vitrail.files.weights_file import is_safetensors
from vitrail.segmentors import ModelCard, Segmentor
from vitrail.visualize.palette import distinct_colours

IMPORTERS: tuple[Importer, ...] = (MMSEG, SSSEG, CGNET_AUTHORS)


def shipped_models() -> Mapping[str, Path]:
    """Return the models that come with the package: their files by name."""
    folder = Path(__file__).parent / "weights"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def load(
    name: str | Path,
    *,
    device: str | torch.device = "cpu",
    like: str | None = None,
    classes: Sequence[str] | None = None,
    trust_imports: bool = False,
) -> Segmentor:
    """Return a model that is ready to predict.

    Parameters
    ----------
    name : str or path
        A model that comes with the package, by name; a published one, such as "ssseg/pspnet_resnet50os8_ade20k" or
        "mmseg/pspnet_r50-d8_4xb4-80k_ade20k-512x512" (`vitrail weights` lists them); a local file: vitrail's
        .safetensors or another project's checkpoint, recognised by its content; or the http(s) address of such a file.
    device : str or torch.device
        Where to put it.
    like : str, optional
        The published model that a checkpoint of another project is built like, where the file does not say.
    classes : sequence of str, optional
        The names of its classes, where they are not those of `like`.
    trust_imports : bool
        Let the file import the modules that it names, which runs their code. Otherwise a model of a plugin's needs the
        plugin to be installed or imported already.

    Returns
    -------
    Segmentor
        In evaluation mode, with `card` set: classes, palette, recipe, origin.

    Raises
    ------
    CheckpointError
        For an unknown name (the nearest known one is suggested), and for a file that is missing, damaged, unsafe, of
        an unknown kind, or does not fit the model it describes.
    PluginError
        For a file that needs a module which is not imported; the message says which, and how to allow it.

    Examples
    --------
    >>> model = load("runs/fastscnn_camvid/best.safetensors")
    """
    card = None if like is None else _with_classes(find_by_name(like).card(), classes)
    if card is None and classes is not None:
        raise CheckpointError("classes go with like=…, the published model that the checkpoint is built like")
    path, entry = _locate(str(name))
    if card is None and entry is not None:
        card = entry.card()
    return load_file(path, card, trust_imports=trust_imports).to(device)


def load_file(path: Path, card: ModelCard | None = None, *, trust_imports: bool = False) -> Segmentor:
    """Return the model in a local file of any supported kind, on the CPU.

    Parameters
    ----------
    path : Path
        The file.
    card : ModelCard, optional
        What a checkpoint of another project is; None finds out from what is in the file, from its name, and from the
        shapes of its tensors, in this order.
    trust_imports : bool
        As in `load`.
    """
    if is_safetensors(path):
        return load_model(path, trust_imports=trust_imports)
    content = read_pickle(path)
    for importer in IMPORTERS:
        if importer.recognise(content):
            weights = importer.weights(content)
            card = card or importer.card(content, str(path)) or _card_from_index(path, weights, importer)
            return convert(weights, card, importer, str(path))
    keys = ", ".join(sorted(str(key) for key in content)[:5])
    known = ", ".join(importer.project for importer in IMPORTERS)
    raise CheckpointError(
        f"{path} is a checkpoint of an unknown kind (it holds: {keys}); known are vitrail's and {known}"
    )


def convert_file(
    source: str | Path,
    target: str | Path,
    *,
    like: str | None = None,
    classes: Sequence[str] | None = None,
    trust_imports: bool = False,
) -> str:
    """Write whatever `load` reads as one self-describing .safetensors file; return a line that says what it is.

    Raises
    ------
    CheckpointError
        As `load` does, and when `target` has another suffix or cannot be written.
    """
    if Path(target).suffix != ".safetensors":
        raise CheckpointError(f"a converted model is a .safetensors file, not {target}")
    model = load(source, like=like, classes=classes, trust_imports=trust_imports)
    save_model(model, target)
    card = model.card
    name = card.name if card and card.name else Path(source).stem
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return f"{name}: {model.num_classes} classes, {parameters:,} parameters"


def _with_classes(card: ModelCard, classes: Sequence[str] | None) -> ModelCard:
    if classes is None:
        return card
    model = {**card.recipe["model"], "num_classes": len(classes)}
    data = {**card.recipe["data"], "dataset": "folder"}
    return replace(
        card,
        classes=tuple(classes),
        palette=distinct_colours(len(classes)),
        recipe={**card.recipe, "model": model, "data": data},
        metrics={},
    )


def _card_from_index(path: Path, weights: Mapping[str, Any], importer: Importer) -> ModelCard:
    """Return the card of a file that does not say what it is: its name may be a published one, or its shapes are."""
    entry = find_by_file(path.name)
    if entry is not None and PROJECTS[entry.project] == importer.project:
        return entry.card()
    project = next((key for key, title in PROJECTS.items() if title == importer.project), "")
    alike = find_by_fingerprint(weights, project)
    if not alike:
        raise CheckpointError(
            f"{path} is a checkpoint of {importer.project} that does not say how its model is built, and no published "
            "model has these tensors: say which it is built like (like=…, --like on the command line; "
            "`vitrail weights` lists them), and which classes it has if they are others"
        )
    if any(_differ(entry, alike[0]) for entry in alike):
        names = ", ".join(entry.name for entry in alike[:6])
        raise CheckpointError(
            f"{path} is a checkpoint of {importer.project} that does not say how its model is built; published models "
            f"with these tensors that compute different functions are {names}{' and more' if len(alike) > 6 else ''}: "
            "say which it is built like (like=…, --like on the command line)"
        )
    return alike[0].card()


def _differ(one: Entry, other: Entry) -> bool:
    """Say whether two models of the same tensors differ in what they compute or in what their classes are."""
    keys = ("segmentor", "backbone", "output_stride", "backbone_options", "options", "num_classes")
    return one.dataset != other.dataset or any(one.recipe["model"].get(k) != other.recipe["model"].get(k) for k in keys)


def _locate(name: str) -> tuple[Path, Entry | None]:
    """Return the local file of a model, and what the index says of it if it went by a published name or address."""
    if name.startswith(("http://", "https://")):
        entry = next((entry for entry in index().values() if entry.url == name and not entry.unsupported), None)
        return download(name, sha256=entry.sha256 if entry and entry.sha256 else None), entry
    path, shipped = Path(name), shipped_models()
    if path.is_file():
        return path, None
    if name in shipped:
        return shipped[name], None
    if name.partition("/")[0] in PROJECTS:
        entry = find_by_name(name)
        entry.card()  # what is not supported is not worth a download
        return download(entry.url, sha256=entry.sha256 or None), entry
    if path.is_dir():
        raise CheckpointError(f"{name} is a folder; give a model file in it, such as best.safetensors")
    if path.suffix or (path.parent.is_dir() and len(path.parts) > 1):
        raise CheckpointError(f"no model file at {path}")
    known = ", ".join(shipped) or "none"
    published = next(
        (f" Did you mean {full!r}?" for full in index() if full.endswith(f"/{name}")), nearest(name, shipped)
    )
    raise CheckpointError(
        f"unknown model {name!r}.{published} Shipped models: {known}; `vitrail weights` lists the published ones; or "
        "give a file."
    )
