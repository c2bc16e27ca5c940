"""Published architectures, saved as their projects save checkpoints, against what `vitrail.load` makes of them."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parity.references import build_mmseg, build_ssseg, mmseg_configs, require_mmseg, ssseg_logits
from parity.same_function import randomise
from vitrail import load
from vitrail.checkpoints.index import Entry, index

DEFAULT_SIZE = (96, 128)


@dataclass(frozen=True)
class Agreement:
    """How far two implementations of a model agree.

    Attributes
    ----------
    error : float
        The largest difference of their logits, as a share of the largest logit.
    spread : float
        How much the logits vary over the image, as such a share: agreement says something only when they do.
    """

    error: float
    spread: float


def architectures() -> dict[str, list[Entry]]:
    """Return the supported published checkpoints, those of one architecture together, by the name of the first.

    Two are of one architecture when vitrail builds them alike but for the number of classes.
    """
    alike: dict[str, list[Entry]] = {}
    for entry in index().values():
        if not entry.unsupported:
            keys = ("segmentor", "backbone", "output_stride", "in_channels", "backbone_options", "options")
            built = [entry.recipe["model"].get(key) for key in keys]
            alike.setdefault(repr((entry.project, built)), []).append(entry)
    return {entries[0].name: entries for entries in alike.values()}


def build_reference(entry: Entry, configs: Path) -> nn.Module:
    """Build the model of a published checkpoint with the project that published it, with random weights."""
    project, _, name = entry.name.partition("/")
    if project == "ssseg":
        model = build_ssseg(ssseg_key(name, configs), configs)
        flatten_point_norms(model)
    else:
        model = build_mmseg(mmseg_key(name))
    randomise(model)
    return model.eval()


def ssseg_key(name: str, configs: Path) -> str:
    """Return where a configuration lies in the file of all."""
    return next(key for key in json.loads(configs.read_text()) if key.partition("/")[2] == name)


def mmseg_key(name: str) -> str:
    """Return where a config lies in the wheel."""
    require_mmseg()
    path = next(mmseg_configs().glob(f"*/{name}.py"))
    return f"{path.parent.name}/{name}"


def flatten_point_norms(model: nn.Module) -> None:
    """Give PointRend's layers over points the norm that takes [B, C, N], as the SyncBatchNorm they stand for does."""
    for layer in getattr(model, "fcs", ()):
        layer[1] = nn.BatchNorm1d(layer[1].num_features)


def save_as_published(model: nn.Module, entry: Entry, folder: Path) -> Path:
    """Write a checkpoint as the project's training writes it, under the name of the published file."""
    path = folder / entry.file
    if entry.project == "ssseg":
        torch.save({"cur_epoch": 1, "cur_iter": 1, "optimizer": {}, "model": model.state_dict()}, path)
    else:
        meta = {"epoch": 1, "iter": 1, "experiment_name": "x", "time": "now", "hook_msgs": {}}
        torch.save({"meta": meta, "state_dict": model.state_dict(), "message_hub": {}}, path)
    return path


def image_size(entry: Entry) -> tuple[int, int]:
    """Return a size that the reference can do: its own where position tables fix it, a small one otherwise."""
    laid_out = entry.recipe["model"].get("backbone_options", {}).get("img_size")
    if laid_out is None or entry.backbone.startswith("vit_"):
        return DEFAULT_SIZE
    return (laid_out, laid_out) if isinstance(laid_out, int) else (laid_out[0], laid_out[1])


@torch.no_grad()
def reference_logits(model: nn.Module, entry: Entry, images: Tensor) -> Tensor:
    """Return the reference's logits at the size of the images."""
    size = images.shape[-2:]
    if entry.project == "ssseg":
        logits = ssseg_logits(model, images)
        return F.interpolate(logits, size, mode="bilinear", align_corners=model.align_corners)
    return model.encode_decode(images, [{"img_shape": tuple(size), "ori_shape": tuple(size)}])


def compare(entry: Entry, configs: Path) -> Agreement:
    """Build, save, load and compare one architecture."""
    torch.manual_seed(0)
    reference = build_reference(entry, configs)
    images = torch.randn(1, 3, *image_size(entry))
    expected = reference_logits(reference, entry, images)
    with tempfile.TemporaryDirectory() as folder:
        path = save_as_published(reference, entry, Path(folder))
        del reference
        model = load(path)
    with torch.no_grad():
        actual = model(images)
    assert actual.shape == expected.shape
    scale = expected.abs().max().item()
    spread = (expected - expected.mean(dim=(2, 3), keepdim=True)).abs().max().item()
    return Agreement((actual - expected).abs().max().item() / scale, spread / scale)
