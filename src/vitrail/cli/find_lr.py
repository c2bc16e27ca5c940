"""`vitrail find-lr`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from vitrail.cli.options import data_root_option, device_option, overrides_argument, start_from_option
from vitrail.cli.output import echo


@click.command("find-lr")
@click.argument("recipe")
@overrides_argument
@data_root_option
@start_from_option
@click.option("--iterations", type=click.IntRange(2), default=100, show_default=True, help="Length of the test.")
@device_option
def find_lr(
    recipe: str,
    overrides: Sequence[str],
    data_root: Path | None,
    start_from: str | None,
    iterations: int,
    device: str | None,
) -> None:
    """Suggest a learning rate: train a few iterations at a rate that rises.

    RECIPE is a name (see `vitrail recipes`) or a YAML file. Nothing is written.
    """
    from vitrail.recipes import load_recipe

    loaded = load_recipe(recipe, overrides)  # mistakes in it are told before PyTorch is imported
    from vitrail.training.find_lr import find_learning_rate

    result = find_learning_rate(
        loaded, data_root=data_root, start_from=start_from, device=device, iterations=iterations
    )
    echo(result.table())
