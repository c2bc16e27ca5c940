"""Published architectures, saved as their projects save checkpoints, against what `vitrail.load` makes of them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from parity.case import images_of
from parity.efficientvit import EfficientViT
from parity.eomt import EoMT
from parity.reference import Reference
from parity.regseg import RegSeg
from parity.sctnet import SCTNet
from parity.toolboxes import Mmseg, MmsegSAN, MmsegSegNeXt, Ssseg, SssegCascade, SssegPoints, SssegUpsampled
from parity.weights import randomise
from vitrail import load
from vitrail.checkpoints import export_checkpoint
from vitrail.checkpoints.index import Entry, index

DEFAULT_SIZE = (96, 128)
LRASPP_SIZE = (416, 480)  # its windows, of 49 pixels of a map of an eighth, do not fit in smaller images
PROJECT_CLASSES: dict[tuple[str, str], type[Mmseg] | type[Ssseg]] = {
    ("mmseg", "segnext"): MmsegSegNeXt,
    ("ssseg", "fastfcn"): SssegUpsampled,
    ("ssseg", "mcibiplusplus"): SssegCascade,
    ("ssseg", "pointrend"): SssegPoints,
    **{("mmseg", f"san-vit-{size}"): MmsegSAN for size in ("b16", "l14")},
}
"""References of methods that need more than their configuration, by project and first word of the name."""


@dataclass(frozen=True)
class Agreement:
    """How far two implementations of a model agree.

    Attributes
    ----------
    error : float
        The largest difference of their logits, as a share of the largest logit.
    spread : float
        How much the logits vary over the image, as such a share: agreement says something only when they do.
    written : float
        As `error`, of the reference with the weights that vitrail wrote for its project, which it has to take strictly.
    """

    error: float
    spread: float
    written: float


def architectures() -> dict[str, list[Entry]]:
    """Return the supported published checkpoints, those of one architecture together, by the name of the first.

    Two are of one architecture when vitrail builds them alike but for the number of classes.
    """
    alike: dict[str, list[Entry]] = {}
    for entry in index().values():
        if not entry.unsupported:
            model = entry.recipe["model"]
            keys = ("segmentor", "backbone", "output_stride", "in_channels", "backbone_options", "options")
            built = [model.get(key) for key in keys]
            built.append({key: value for key, value in model.get("auxiliary", {}).items() if key != "losses"})
            alike.setdefault(repr((entry.project, built)), []).append(entry)
    return {entries[0].name: entries for entries in alike.values()}


def reference_of(entry: Entry) -> Reference:
    """Return the model of a published checkpoint in the project that published it."""
    project, _, name = entry.name.partition("/")
    if project == "efficientvit":
        return EfficientViT(*name.rsplit("_", 2)[1:])
    if project == "regseg":
        return RegSeg("_".join(name.split("_")[1:3]))
    if project == "eomt":
        model = entry.recipe["model"]
        return EoMT(
            "dinov3" in entry.backbone, "large", model["backbone_options"]["img_size"], model["num_classes"], 100, 4
        )
    if project == "sctnet":
        return SCTNet(entry.backbone.removeprefix("sctnet_"), entry.dataset, early=False)
    kind = PROJECT_CLASSES.get((project, name.partition("_")[0]), Mmseg if project == "mmseg" else Ssseg)
    return kind(name)


def build_reference(entry: Entry) -> nn.Module:
    """Build the model of a published checkpoint with the project that published it, with drawn weights."""
    model = reference_of(entry).build()
    randomise(model, ("network.encoder.pixel_",))  # of EoMT: what images are normalised with
    keep_in_range(model, entry)
    return model.eval()


@torch.no_grad()
def keep_in_range(model: nn.Module, entry: Entry) -> None:
    """Change the drawn weights, of a project's model or of ours, with which a method gives no finite logits."""
    for name, tensor in model.state_dict().items():
        if name == "network.attn_mask_probs":
            tensor.zero_()  # of a trained EoMT, whose queries attend to the whole image
        elif name.endswith(("memory", "memory.statistics")) and entry.method == "mcibiplusplus":
            tensor[:, 1].abs_()  # the deviations of the classes' features
        elif "scale" in name and entry.method == "segnext":
            tensor.mul_(0.1)  # its blocks multiply features, which overflow in the deep encoders otherwise


def save_as_published(model: nn.Module, entry: Entry, folder: Path) -> Path:
    """Write a checkpoint as the project's training writes it, under the name of the published file."""
    path = folder / entry.file
    if entry.project == "efficientvit":
        torch.save({"state_dict": model.state_dict()}, path)
    elif entry.project == "regseg":
        torch.save({"model": model.state_dict(), "epoch": 1, "best_mIU": 1.0, "run": 1}, path)
    elif entry.project == "ssseg":
        torch.save({"cur_epoch": 1, "cur_iter": 1, "optimizer": {}, "model": model.state_dict()}, path)
    else:
        meta = {"epoch": 1, "iter": 1, "experiment_name": "x", "time": "now", "hook_msgs": {}}
        torch.save({"meta": meta, "state_dict": model.state_dict(), "message_hub": {}}, path)
    return path


def load_as_published(model: nn.Module, entry: Entry, path: Path) -> None:
    """Put the weights of a checkpoint that the project reads into its model, all of them."""
    for tensor in model.state_dict().values():
        tensor.zero_()  # the values of before must not be mistaken for those of the file
    content = torch.load(path, weights_only=True)
    weights = content["model" if entry.project in ("ssseg", "regseg") else "state_dict"]
    if entry.project == "eomt":
        del weights["criterion.empty_weight"]  # as their code does
    model.load_state_dict(weights, strict=True)


def image_size(entry: Entry) -> tuple[int, int]:
    """Return a size that the reference can do: its own where position tables fix it, a small one otherwise."""
    if entry.method == "lraspp":
        return LRASPP_SIZE
    laid_out = entry.recipe["model"].get("backbone_options", {}).get("img_size")
    if laid_out is None or (entry.backbone.startswith("vit_") and entry.method != "eomt"):
        return DEFAULT_SIZE
    return (laid_out, laid_out) if isinstance(laid_out, int) else (laid_out[0], laid_out[1])


@torch.no_grad()
def compare(entry: Entry) -> Agreement:
    """Build, save, load and compare one architecture, then write it for its project and compare it there."""
    reference = build_reference(entry)
    images = images_of(image_size(entry)).float()
    expected = reference_of(entry).logits(reference, images, at_image_size=True)
    with tempfile.TemporaryDirectory() as folder:
        model = load(save_as_published(reference, entry, Path(folder)))
        actual = model(images)
        export_checkpoint(model, Path(folder) / "written.pth", entry.project)
        load_as_published(reference, entry, Path(folder) / "written.pth")
    written = reference_of(entry).logits(reference, images, at_image_size=True)
    assert actual.shape == expected.shape
    scale = expected.abs().max().item()
    spread = (expected - expected.mean(dim=(2, 3), keepdim=True)).abs().max().item()
    errors = [(logits - expected).abs().max().item() / scale for logits in (actual, written)]
    return Agreement(errors[0], spread / scale, errors[1])
