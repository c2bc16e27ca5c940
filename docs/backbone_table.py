"""The page of backbones, made from the registry; `python docs/make_tables.py` writes it with the others.

`python docs/backbone_table.py` writes what `list_backbones()` knows of every encoder; it takes some minutes, and is
needed after a new encoder or a new timm.
"""

from __future__ import annotations

import re
from collections import Counter

import timm
import torch
from timm.models import model_entrypoint
from torch.utils.flop_counter import FlopCounterMode

from vitrail.backbones import BACKBONES, Backbone, create_backbone, levels, list_backbones

SIZE = 512

# The encoders of the published segmentation models; every other one of timm's is counted by family.
PUBLISHED = re.compile(
    r"resnet(18|34|50|101|152)[cd]?|resnest(14d|26d|50d|101e|200e|269e)|hrnet_w\d+(_small(_v2)?)?|mobilenetv2_\d+d?"
    r"|(tf_)?mobilenetv3_(small|large)_100|convnext_(atto|femto|pico|nano|tiny|small|base|large|xlarge)"
    r"|swin_(tiny|small|base|large)_patch4_window(7_224|12_384)|vit_(tiny|small|base|large)_patch16_(224|384)"
    r"|deit_(tiny|small|base)_patch16_224|beit(v2)?_(base|large)_patch16_224|twins_\w+"
)

INTRODUCTION = f"""\
Made by `python docs/make_tables.py`. Every name works at any image size from 32 pixels on:
`create_model(method, backbone=name)`, see [methods](methods.md). Parameters and multiply-accumulates are those of the
encoder alone, without a classifier, for one image of {SIZE}×{SIZE}. `pretrained=True` downloads the weights in the last
column through timm, `pretrained=PATH` reads a local file; encoders without an entry start from scratch or from a file.

Convolutional encoders (ResNet, ResNeSt, MobileNet, ConvNeXt, EfficientNet, RegNet, …) take `output_stride=8` or `16`.
Plain transformers (ViT, DeiT, BEiT, EVA) take `pyramid=True` to give strides 4, 8, 16 and 32."""


def backbones_page() -> str:
    """Return the page: encoders of published models in full, the others by family."""
    names = list_backbones()
    shown = [name for name in names if name in BACKBONES or PUBLISHED.fullmatch(name)]
    families = Counter(_family(name) for name in names if name not in shown)
    rows = ["| name | parameters | MACs | channels | strides | weights |", "| --- | --- | --- | --- | --- | --- |"]
    rows += [_row(name) for name in shown]
    others = ", ".join(f"{family} ({count})" for family, count in sorted(families.items()))
    return (
        "\n\n".join(
            [
                "# Backbones",
                INTRODUCTION,
                "## Encoders of published models\n\n" + "\n".join(rows),
                f"## The others of timm {timm.__version__}\n\n{sum(families.values())} more names of "
                f"`vitrail.list_backbones()`, by family: {others}.",
            ]
        )
        + "\n"
    )


def _row(name: str) -> str:
    with torch.device("meta"):
        backbone = create_backbone(name).eval()
        images = torch.empty(1, 3, SIZE, SIZE)
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    cells = (
        f"`{name}`",
        f"{parameters / 1e6:.1f} M",
        f"{_macs(backbone, images) / 1e9:.1f} G",
        " ".join(map(str, backbone.channels)),
        " ".join(map(str, backbone.strides)),
        _weights(name),
    )
    return f"| {' | '.join(cells)} |"


def _macs(backbone: Backbone, images: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone(images)
    return counter.get_total_flops() / 2


def _weights(name: str) -> str:
    if name in BACKBONES:
        return "of the ResNet, timm" if name.startswith("bisenetv1") else ""
    cfg = timm.get_pretrained_cfg(name)
    return f"timm, `{cfg.tag}`" if cfg is not None and cfg.has_weights else ""


def _family(name: str) -> str:
    return model_entrypoint(name).__module__.rpartition(".")[2]


if __name__ == "__main__":
    levels.FILE.write_text(levels.as_json(list_backbones()), encoding="utf-8")
