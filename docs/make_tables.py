"""Write the tables of methods, datasets and backbones from the registries: `python docs/make_tables.py`."""

from __future__ import annotations

from pathlib import Path

from backbone_table import backbones_page

from vitrail.datasets import Benchmark, benchmarks
from vitrail.recipes import Recipe, list_recipes, load_recipe
from vitrail.segmentors import SEGMENTORS

FOLDER = Path(__file__).parent


def methods_page() -> str:
    """Return the page of methods and their recipes."""
    recipes = [load_recipe(name) for name in list_recipes()]
    parts = [
        "# Methods",
        "Made by `python docs/make_tables.py`. A method works with every [backbone](backbones.md); the one named is "
        "what it is built on when none is given. mIoU is the published figure of a recipe's settings (single "
        "scale, no flip); recipes without one are vitrail's own.",
    ]
    for name, method in SEGMENTORS.items():
        parts.append(f"## {name}\n\n{method.summary} Default backbone: `{method.backbone}`.")
        own = [recipe for recipe in recipes if recipe.model.segmentor == name]
        if own:
            rows = ["| recipe | backbone | dataset | mIoU |", "| --- | --- | --- | --- |", *map(_recipe_row, own)]
            parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


def datasets_page() -> str:
    """Return the page of benchmarks."""
    rows = ["| name | dataset | classes | splits | citation |", "| --- | --- | --- | --- | --- |"]
    rows += [_benchmark_row(benchmark) for benchmark in benchmarks().values() if benchmark.splits]
    text = (
        "Made by `python docs/make_tables.py`. Besides these there are `folder`, for images and masks of your own, and "
        "`scenes`, drawn by a program: see [data](data.md)."
    )
    return f"# Datasets\n\n{text}\n\n" + "\n".join(rows) + "\n"


def _benchmark_row(benchmark: Benchmark) -> str:
    splits = ", ".join(benchmark.splits)
    return f"| `{benchmark.name}` | {benchmark.title} | {len(benchmark.classes)} | {splits} | {benchmark.citation} |"


def _recipe_row(recipe: Recipe) -> str:
    stride = f", output stride {recipe.model.output_stride}" if recipe.model.output_stride else ""
    reference = recipe.reference
    figure = ""
    if reference and reference.miou:
        figure = f"{100 * reference.miou:.2f} ({reference.source})"
    elif reference and reference.mdice:
        figure = f"mDice {100 * reference.mdice:.2f} ({reference.source})"
    return f"| `{recipe.name}` | {recipe.model.backbone}{stride} | {recipe.data.dataset} | {figure} |"


PAGES = {"methods.md": methods_page, "datasets.md": datasets_page, "backbones.md": backbones_page}

if __name__ == "__main__":
    for file, page in PAGES.items():
        (FOLDER / file).write_text(page(), encoding="utf-8")
