"""Pages of tables, made from the registries when the site is built."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import timm
from timm.models import model_entrypoint

from vitrail.backbones import BACKBONES, levels, list_backbones
from vitrail.checkpoints.listing import list_weights
from vitrail.datasets import benchmarks
from vitrail.losses import LOSSES
from vitrail.recipes import Recipe, list_recipes, load_recipe
from vitrail.registry import KINDS, find_registry
from vitrail.segmentors import SEGMENTORS

COSTS: dict[str, dict[str, float]] = json.loads(
    Path(__file__).with_name("encoder_costs.json").read_text(encoding="utf-8")
)

# The columns of `tools.export_matrix`, and their headings.
EXPORT_COLUMNS = {
    "onnx": "ONNX",
    "pt2": "torch.export",
    "pt2 bfloat16": "torch.export bfloat16",
    "openvino": "OpenVINO",
    "aoti": "AOTInductor",
    "executorch": "ExecuTorch",
    "coreml": "Core ML",
    "onnx int8": "ONNX int8",
    "openvino int8": "OpenVINO int8",
}

# The encoders of the published segmentation models; every other one of timm's is counted by family.
PUBLISHED_ENCODERS = re.compile(
    r"resnet(18|34|50|101|152)[cd]?|resnest(14d|26d|50d|101e|200e|269e)|hrnet_w\d+(_small(_v2)?)?|mobilenetv2_\d+d?"
    r"|(tf_)?mobilenetv3_(small|large)_100|convnext_(atto|femto|pico|nano|tiny|small|base|large|xlarge)"
    r"|swin_(tiny|small|base|large)_patch4_window(7_224|12_384)|vit_(tiny|small|base|large)_patch16_(224|384)"
    r"|deit_(tiny|small|base)_patch16_224|beit(v2)?_(base|large)_patch16_224|twins_\w+"
)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", r"\|") for cell in line) + " |" for line in lines)


def reference(documented: Any, level: int = 3) -> str:
    """Return the directive that renders the documentation of a class or function."""
    options = {
        "heading_level": level,
        "members": False,
        "skip_local_inventory": True,  # the page of the API reference is where links lead
    }
    return f"::: {documented.__module__}.{documented.__qualname__}\n    options: {json.dumps(options)}"


def methods() -> str:
    """Return the page of methods: what each is, its recipes and its options."""
    recipes = [load_recipe(name) for name in list_recipes()]
    parts = [
        "# Methods",
        "A method works with every [backbone](backbones.md); the default is the one that it is built on when none is "
        "named. Its options are the arguments of its builder: `create_model(name, option=value)` in Python, "
        "`model.options` in a [recipe](recipes.md). Figures are published mIoU of the recipe's settings, with a single "
        "scale and no flip.",
        table(
            ["method", "what it is", "default backbone", "recipes"],
            [
                (
                    f"[`{name}`](#{name})",
                    method.summary,
                    f"`{method.backbone}`",
                    sum(recipe.model.segmentor == name for recipe in recipes),
                )
                for name, method in SEGMENTORS.items()
            ],
        ),
    ]
    for name, method in SEGMENTORS.items():
        own = [recipe for recipe in recipes if recipe.model.segmentor == name]
        parts.append(f"## `{name}` {{#{name}}}")
        if own:
            parts.append(recipe_table(own))
        parts.append(reference(method.head))
    return "\n\n".join(parts)


def recipe_list() -> str:
    """Return the page of all recipes."""
    recipes = [load_recipe(name) for name in list_recipes()]
    return "\n\n".join(
        [
            "# List of recipes",
            f"{len(recipes)} recipes; `vitrail recipe NAME` prints one in full, [recipes](recipes.md) explains them. "
            "The figure is the published mIoU of a recipe's settings; a recipe without one is vitrail's own.",
            recipe_table(recipes),
        ]
    )


def recipe_table(recipes: Iterable[Recipe]) -> str:
    """Return a table of recipes."""
    rows = []
    for recipe in recipes:
        stride = f", output stride {recipe.model.output_stride}" if recipe.model.output_stride else ""
        backbone = f"{recipe.model.backbone}{stride}" if recipe.model.backbone else "the method's own"
        rows.append((f"`{recipe.name}`", backbone, f"`{recipe.data.dataset}`", figure(recipe)))
    return table(["recipe", "backbone", "dataset", "published"], rows)


def figure(recipe: Recipe) -> str:
    """Return the published figure of a recipe, in percent, and who published it."""
    published = recipe.reference
    if published and published.miou:
        return f"mIoU {100 * published.miou:.2f} ({published.source})"
    if published and published.mdice:
        return f"mDice {100 * published.mdice:.2f} ({published.source})"
    return ""


def backbones() -> str:
    """Return the page of backbones: encoders of published models in full, the others by family."""
    shown = shown_encoders()
    others = set(list_backbones()) - set(shown)
    families = Counter(model_entrypoint(name).__module__.rpartition(".")[2] for name in others)
    return "\n\n".join(
        [
            "# Backbones",
            "Every name works at any image size from 32 pixels on: `create_model(method, backbone=name)`. Parameters "
            "and multiply-accumulate operations are those of the encoder alone, without a classifier, for one image of "
            "512×512. `pretrained=True` downloads the weights of the last column through timm, `pretrained=PATH` reads "
            "a local file; encoders without an entry start from random weights or from a file.",
            "Convolutional encoders (ResNet, ResNeSt, MobileNet, ConvNeXt, EfficientNet, RegNet, …) take "
            "`output_stride=8` or `16`. Plain transformers (ViT, DeiT, BEiT, EVA) take `pyramid=True`, which gives "
            "strides 4, 8, 16 and 32.",
            "## Encoders of published models",
            table(
                ["name", "parameters", "MACs", "channels", "strides", "weights"], [backbone_row(name) for name in shown]
            ),
            f"## The others of timm {timm.__version__}",
            f"{sum(families.values())} more names of `vitrail.list_backbones()`, by family: "
            + ", ".join(f"{family} ({count})" for family, count in sorted(families.items()))
            + ".",
        ]
    )


def shown_encoders() -> list[str]:
    """Return the encoders that have a row of their own: those of vitrail, and those that published models use."""
    return sorted(str(name) for name in list_backbones() if name in BACKBONES or PUBLISHED_ENCODERS.fullmatch(name))


def backbone_row(name: str) -> tuple[str, ...]:
    """Return what the table says about an encoder."""
    shape, cost = levels.levels_of(name), COSTS[name]
    return (
        f"`{name}`",
        f"{cost['parameters']:.1f} M",
        f"{cost['macs']:.1f} G",
        " ".join(map(str, shape.channels)),
        " ".join(map(str, shape.strides)),
        pretrained_weights(name),
    )


def pretrained_weights(name: str) -> str:
    """Return where `pretrained=True` gets its weights from."""
    if name in BACKBONES:
        return "of the ResNet, timm" if name.startswith("bisenetv1") else ""
    cfg = timm.get_pretrained_cfg(name)
    return f"timm, `{cfg.tag}`" if cfg is not None and cfg.has_weights else ""


def datasets() -> str:
    """Return the page of benchmarks."""
    return "\n\n".join(
        [
            "# Datasets",
            "Each is read from its official download, unpacked or not. Besides these there are `folder`, for images "
            "and masks of your own, readers for the formats of other programs, and `scenes`, street scenes that "
            "vitrail draws itself: see [data](data.md).",
            table(
                ["name", "dataset", "classes", "splits", "citation"],
                [
                    (f"`{each.name}`", each.title, len(each.classes), ", ".join(each.splits), each.citation)
                    for each in benchmarks().values()
                    if each.splits
                ],
            ),
        ]
    )


def losses() -> str:
    """Return the page of losses and their options."""
    return "\n\n".join(
        [
            "# Losses",
            "A recipe lists them under `model.losses`, each with a `weight` and `options`, the arguments below; see "
            "[training](training.md). Pixels of value 255 are ignored by all of them.",
            table(
                ["loss", "what it is"], [(f"[`{each.name}`](#{each.name})", each.summary) for each in LOSSES.listings()]
            ),
            *(f"## `{name}` {{#{name}}}\n\n{reference(loss)}" for name, loss in LOSSES.items()),
        ]
    )


def weights() -> str:
    """Return the page of published checkpoints that load by name."""
    entries = list_weights()
    loaded = [entry for entry in entries if not entry.unsupported]
    rows = [
        (
            f"`{entry.name}`",
            entry.method,
            entry.backbone,
            entry.dataset,
            "" if entry.miou is None else f"{100 * entry.miou:.2f}",
            entry.terms or "see its page",
        )
        for entry in loaded
    ]
    return "\n\n".join(
        [
            "# Published weights",
            f"{len(loaded)} of {len(entries)} known checkpoints load: `vitrail.load(name)`, `vitrail predict NAME …`. "
            "[Published checkpoints](checkpoints.md) explains how, and [comparison](weights.md) shows how far they "
            "agree with the projects that published them. mIoU is the published figure.",
            table(["name", "method", "backbone", "dataset", "mIoU", "licence"], rows),
        ]
    )


def extensions() -> str:
    """Return the page of everything that is registered by name and can come from a plugin."""
    parts = [
        "# Extension points",
        "What is chosen by name in a recipe or on the command line, and can be added by a package of your own: see "
        "[plugins](plugins.md). `vitrail list KIND` prints the same, with installed plugins.",
    ]
    for kind in KINDS:
        rows = [(f"`{each.name}`", each.summary) for each in find_registry(kind).listings()]
        parts += [f"## {kind.capitalize()}", table(["name", "what it is"], rows)]
    return "\n\n".join(parts)


def export_matrix() -> str:
    """Return the page of what every method, and every kind of encoder, becomes in every export format."""
    matrix, encoders = measured("export_matrix.json"), measured("export_encoders.json")
    cells = [cell for rows in (matrix, encoders) for row in rows.values() for cell in row.values()]
    machines = sorted({cell["machine"] for cell in cells if "machine" in cell})
    columns = [each for each in EXPORT_COLUMNS if any(each in row for row in encoders.values())]
    return "\n\n".join(
        [
            "# Methods and export formats",
            "Every method exported to every [format](export.md), with a head as published on a small encoder (a "
            "ResNet-18 for the ResNets, a tiny ViT for the ViTs). A cell gives the speed as a multiple of PyTorch's, "
            "as `vitrail.Predictor` runs the model, and the largest difference of a logit from PyTorch's as a share of "
            "the largest one (for int8, the share of pixels with the same class). "
            f"Measured for one image of 512 × 512 on one thread of {' or '.join(machines)}. int8 gains most where the "
            "processor multiplies 8-bit numbers (AVX-512 VNNI, AMX). Cells of AOTInductor, int8 and bfloat16 are "
            "mostly of before vitrail's own prediction on AMD's processors became up to a third faster "
            "([Speed](speed.md#what-is-done-for-speed)).",
            "ONNX, torch.export, OpenVINO and AOTInductor files take images of any size, ExecuTorch and Core ML files "
            "those of one size; ExecuTorch was timed at 128 × 160, and a Core ML file can be checked on macOS only. An "
            "empty cell was not measured. `python -m tools.export_matrix` makes this table.",
            export_table("method", matrix, SEGMENTORS, EXPORT_COLUMNS),
            "## Encoders",
            "A small encoder of nearly every module of timm's, and some of vitrail's own, under the head of FPN (of "
            "FCN where there are fewer than four maps), exported for any size and measured alike: "
            "`python -m tools.export_matrix --encoders`.",
            export_table("encoder", encoders, encoders, columns),
        ]
    )


def measured(file: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Return a file of `tools.export_matrix`: its cells by row and column."""
    rows: dict[str, dict[str, dict[str, Any]]] = json.loads(Path(__file__).with_name(file).read_text(encoding="utf-8"))
    return rows


def export_table(
    head: str, rows: dict[str, dict[str, dict[str, Any]]], names: Iterable[str], columns: Iterable[str]
) -> str:
    """Return the table of some rows and columns of `measured`."""
    columns = list(columns)
    cells = ((f"`{name}`", *(export_cell(rows.get(name, {}).get(each)) for each in columns)) for name in names)
    return table([head, *(EXPORT_COLUMNS[each] for each in columns)], cells)


def export_cell(cell: dict[str, Any] | None) -> str:
    """Return what the table says of a method in a format."""
    if cell is None:
        return ""
    if "error" in cell:
        return "no: " + re.sub(r"[\[\]<>*_`\\]", r"\\\g<0>", cell["error"])  # which is not Markdown
    if "seconds" not in cell:
        return "converts"
    agreement = f"{cell['equal']:.1%} equal" if cell["precision"] == "int8" else f"{cell['difference']:.0e}"
    return f"{cell['torch_seconds'] / cell['seconds']:.1f}×, {agreement}"


PAGES: dict[str, Callable[[], str]] = {
    "methods.md": methods,
    "backbones.md": backbones,
    "datasets.md": datasets,
    "losses.md": losses,
    "recipe-list.md": recipe_list,
    "published-weights.md": weights,
    "extensions.md": extensions,
    "export-formats.md": export_matrix,
}
