"""Loading a ready model from a name, a file or an address, and writing it in another format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from vitrail.checkpoints.card_check import check_card, description_of
from vitrail.checkpoints.checkpoint import Checkpoint, read_checkpoint
from vitrail.checkpoints.class_names import checked_classes, is_open_vocabulary, name_classes, with_classes
from vitrail.checkpoints.complete import section_of
from vitrail.checkpoints.exported import computing_device, exported_format, load_exported
from vitrail.checkpoints.hub import HUB, SMP_HUB, fetch_from_hub, weights_in
from vitrail.checkpoints.imports import imports_of
from vitrail.checkpoints.index import PROJECTS, Entry, find_by_name, index
from vitrail.checkpoints.limits import check_described_model, no_more_than
from vitrail.checkpoints.sources import SOURCES, DeltaSource, Source, Writer
from vitrail.checkpoints.sources.torchvision import TORCHVISION, torchvision_url
from vitrail.checkpoints.state import few, load_state
from vitrail.errors import CheckpointError, RecipeError, nearest
from vitrail.files.download import discard, download, hash_in_name
from vitrail.files.outputs import check_free
from vitrail.layers.skip_init import SkipRandomInit
from vitrail.segmentors import ModelCard, Segmentor, build_model

DEFAULT_MODEL = "bisenetv2_camvid_trainval"  # of the shipped ones, for who names none


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
    vocabulary: str | Path | None = None,
    base: str | Path | None = None,
    trust_imports: bool = False,
) -> Segmentor:
    """Return a model that is ready to predict.

    Parameters
    ----------
    name : str or path
        A model that comes with the package, by name; a published one, such as "ssseg/pspnet_resnet50os8_ade20k" or
        "mmseg/pspnet_r50-d8_4xb4-80k_ade20k-512x512" (`vitrail weights` lists them); a local file: vitrail's
        .safetensors or another project's checkpoint, recognised by its content; the folder of a training, whose best
        model is taken; a folder as transformers or segmentation_models_pytorch saves models; "hf/ORG/NAME" or
        "hf/ORG/NAME@REVISION", a model on the Hugging Face hub; "smp-hub/NAME", one of segmentation_models_pytorch's
        there; "torchvision/fcn_resnet50", or "torchvision/deeplabv3_resnet101";
        "efficientvit/efficientvit_seg_l1_cityscapes", or others of its authors, and those of RegSeg's, SCTNet's and
        EoMT's; a file that `vitrail.export_model` wrote, such as an .onnx file, recognised by its suffix; or the
        http(s) address of such a file.
    device : str or torch.device
        Where to put it.
    like : str, optional
        The published model that a checkpoint of another project is built like, where the file does not say.
    classes : sequence of str, optional
        The names of its classes, where they are not those of `like`; or, for a model of an open vocabulary (SAN) with
        its text encoder, of the classes that it should have instead of its own.
    vocabulary : str or path, optional
        CLIP's list of merges, `merges.txt` of a CLIP tokenizer: for names of classes with words that no dataset of
        vitrail has.
    base : str or path, optional
        The weights from which a checkpoint holds the differences, as `name`: EoMT's authors published those from
        DINOv3's, which are "hf/facebook/dinov3-vitl16-pretrain-lvd1689m", or a folder as transformers saves them.
    trust_imports : bool
        Let the file import the modules that it names, which runs their code. Otherwise a model of a plugin's needs the
        plugin to be installed or imported already. Also load exported files of formats that can hold code, such as
        .pt2.

    Returns
    -------
    Segmentor
        In evaluation mode, with `card` set: classes, palette, recipe, origin. That of an exported file predicts on the
        CPU and cannot be trained.

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
    if classes is not None:
        classes = checked_classes(classes)
    card = None if like is None else find_by_name(like).card()
    if card is not None and classes is not None and not is_open_vocabulary(card):
        card, classes = with_classes(card, classes), None
    path, entry = _locate(str(name))
    format = exported_format(path)
    if format is not None:
        if card is not None or base is not None:
            option = "base" if card is None else "like"
            raise CheckpointError(f"{option}=… is for checkpoints of other projects: {path} says itself what it is")
        if classes is not None or vocabulary is not None:
            raise CheckpointError(f"the classes of an exported model are fixed: export the model of {path} again")
        exported = load_exported(path, format, trust=trust_imports)
        computing_device(exported, torch.device(device), explicit=True)
        return exported
    if card is None and entry is not None:
        card = entry.card()
    checkpoint = _read_download(path) if _is_unverified(str(name), path, entry) else read_checkpoint(path)
    if base is not None:
        checkpoint = _on_base(checkpoint, base)
    model = _model_in(checkpoint, card, trust_imports=trust_imports, classes=classes, vocabulary=vocabulary)
    return model.to(device)


def _on_base(checkpoint: Checkpoint, base: str | Path) -> Checkpoint:
    """Return the checkpoint of weights that one of differences makes of those in `base`, a name, file or address."""
    _, source = recognise(checkpoint)
    if not isinstance(source, DeltaSource) or not source.holds_deltas(checkpoint):
        raise CheckpointError(f"base=… is for checkpoints that hold differences: {checkpoint.origin} holds weights")
    path, _ = _locate(str(base))
    return source.on_base(checkpoint, read_checkpoint(path))


def load_model(path: str | Path, card: ModelCard | None = None, *, trust_imports: bool = False) -> Segmentor:
    """Return the model in a local file of any supported kind, on the CPU, in evaluation mode, with `card` set.

    Parameters
    ----------
    path : path
        The file.
    card : ModelCard, optional
        What a checkpoint of another project is; None finds out from what is in the file, from its name, and from the
        shapes of its tensors, in this order.
    trust_imports : bool
        As in `load`.

    Raises
    ------
    CheckpointError
        For a file that is missing, damaged, unsafe, or of an unknown kind, and unless every tensor of the file is used
        once and every tensor of the model filled; the message names the first few that are left over.
    PluginError
        As `load` does.
    """
    return _model_in(read_checkpoint(Path(path)), card, trust_imports=trust_imports)


def _model_in(
    checkpoint: Checkpoint,
    card: ModelCard | None,
    *,
    trust_imports: bool,
    classes: Sequence[str] | None = None,
    vocabulary: str | Path | None = None,
) -> Segmentor:
    """Return the model in a checkpoint; see `load_model`."""
    path = checkpoint.origin
    name, source = recognise(checkpoint)
    where = str(path) if name == "vitrail" else f"{path} (from {source.title}, renamed)"
    with description_of(str(path)):
        card, state = source.translate(checkpoint, card)
    try:
        with imports_of(card, str(path), trust=trust_imports):
            with description_of(str(path)):
                card, state = name_classes(card, state, str(path), classes=classes, vocabulary=vocabulary)
            config = section_of(card, str(path))
            check_card(card, config.in_channels, str(path))
            check_described_model(config, len(card.classes), state, where)
            with no_more_than(state, where), SkipRandomInit():
                model = build_model(config, len(card.classes), card=card)
    except RecipeError as error:
        raise CheckpointError(f"{path}: {error}") from error
    load_state(model, state, where)
    return model.eval()


def recognise(checkpoint: Checkpoint) -> tuple[str, Source]:
    """Return the source of a checkpoint, with the name that it is registered under.

    Raises
    ------
    CheckpointError
        When no source recognises it, or several do.
    """
    found = [(name, source) for name, source in SOURCES.items() if source.recognise(checkpoint)]
    preceded = {name for _, source in found for name in getattr(source, "precedes", ())}
    found = [(name, source) for name, source in found if name not in preceded]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"{name} (from the package {SOURCES.origin(name)})" for name, _ in found)
        raise CheckpointError(
            f"{checkpoint.origin} is recognised by several checkpoint sources: {names}; uninstall the one that is wrong"
        )
    held = [*checkpoint.metadata, *checkpoint.tensors]
    known = ", ".join(source.title for source in SOURCES.values())
    raise CheckpointError(
        f"{checkpoint.origin} is a checkpoint of an unknown kind (it holds: {few(held)}); known are those of {known}"
    )


def convert_file(
    source: str | Path,
    target: str | Path,
    *,
    to: str = "vitrail",
    like: str | None = None,
    classes: Sequence[str] | None = None,
    vocabulary: str | Path | None = None,
    base: str | Path | None = None,
    overwrite: bool = False,
    trust_imports: bool = False,
) -> str:
    """Write whatever `load` reads in another format; return a line that says what it is.

    Parameters
    ----------
    source : str or path
        A name, file or address, as `load` takes it.
    target : path
        The file to write; a folder for "transformers".
    to : str
        See `export_checkpoint`.
    overwrite : bool
        Replace `target` where it exists.
    like, classes, vocabulary, base, trust_imports
        As `load` takes them.

    Raises
    ------
    CheckpointError
        As `load` and `export_checkpoint` do, and when `target` exists.
    """
    _writer(to, target)  # before a model is downloaded
    check_free([target], overwrite=overwrite, error=CheckpointError)
    model = load(source, like=like, classes=classes, vocabulary=vocabulary, base=base, trust_imports=trust_imports)
    written = export_checkpoint(model, target, to)
    name = model.card.name if model.card and model.card.name else Path(source).stem
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return f"{name}: {model.num_classes} classes, {parameters:,} parameters; {written}"


def export_checkpoint(model: Segmentor, path: str | Path, to: str = "vitrail") -> str:
    """Write a model as a project saves it; return a line that says what the file goes with.

    Parameters
    ----------
    model : Segmentor
        Its `card` must be set and hold the recipe.
    path : path
        The file or folder, replaced when it exists; written whole or not at all.
    to : str
        A checkpoint source that can write: "vitrail", "mmseg", "ssseg", "efficientvit", "regseg", "sctnet",
        "eomt", or "transformers", which makes a folder. What it writes loads strictly in the project's own model of
        the same architecture and gives the same logits.

    Raises
    ------
    CheckpointError
        For a source that cannot write, a path with another suffix than the project's files have, a model that the
        project does not have, and a file that cannot be written.
    """
    return _writer(to, path).write(model, Path(path))


def _writer(to: str, path: str | Path) -> Writer:
    source = SOURCES[to]
    if not isinstance(source, Writer):
        writers = ", ".join(name for name, each in SOURCES.items() if isinstance(each, Writer))
        raise CheckpointError(f"vitrail cannot write checkpoints of {source.title}; it can write: {writers}")
    if not source.suffixes and Path(path).is_file():
        raise CheckpointError(f"a model of {source.title} is a folder: {path} is a file")
    if source.suffixes and Path(path).suffix not in source.suffixes:
        raise CheckpointError(f"a checkpoint of {source.title} is a {source.suffixes[0]} file, not {path}")
    return source


def _is_unverified(name: str, path: Path, entry: Entry | None) -> bool:
    """Return whether a file was downloaded, and nothing has said what hash it should have."""
    downloaded = name.startswith(("http://", "https://")) or entry is not None
    return downloaded and not (entry and entry.sha256) and hash_in_name(path.name) is None


def _read_download(path: Path) -> Checkpoint:
    """Read a file that may not be what it should be, and fetch it again next time where it cannot be read."""
    try:
        return read_checkpoint(path)
    except CheckpointError as error:
        discard(path)
        raise CheckpointError(f"{error}. The download was deleted, so that the next try fetches it again") from error


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
    if name.startswith(TORCHVISION):
        url = torchvision_url(name)
        return download(url, sha256=hash_in_name(url.rpartition("/")[2])), None
    if name.startswith((HUB, SMP_HUB)):
        return fetch_from_hub(name), None
    if path.is_dir():
        return (path if exported_format(path) else weights_in(path)), None  # Core ML's packages are folders
    if path.suffix or (path.parent.is_dir() and len(path.parts) > 1):
        raise CheckpointError(f"no model file at {path}")
    known = ", ".join(shipped) or "none"
    published = next(
        (f" Did you mean {full!r}?" for full in index() if full.endswith(f"/{name}")), nearest(name, shipped)
    )
    if not published and name.count("/") == 1:
        published = f" On the Hugging Face hub it would be {HUB + name!r}."
    raise CheckpointError(
        f"unknown model {name!r}.{published} Shipped models: {known}; `vitrail weights` lists the published ones; or "
        "give a file."
    )
