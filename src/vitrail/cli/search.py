"""`vitrail search`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from vitrail.cli.options import (
    FILE,
    data_root_option,
    device_option,
    output_dir_option,
    overrides_argument,
    start_from_option,
)
from vitrail.cli.output import echo


@click.command()
@click.argument("recipe")
@overrides_argument
@click.option("--space", type=FILE, required=True, help="A YAML file: keys of the recipe, each with a range or a list.")
@click.option("--trials", type=click.IntRange(1), default=20, show_default=True, help="In all, earlier ones included.")
@output_dir_option("For the search and the runs of its trials.")
@data_root_option
@start_from_option
@device_option
def search(
    recipe: str,
    overrides: Sequence[str],
    space: Path,
    trials: int,
    output_dir: Path,
    data_root: Path | None,
    start_from: str | None,
    device: str | None,
) -> None:
    """Search the values of some keys of a recipe that give the highest mIoU.

    RECIPE is a name (see `vitrail recipes`) or a YAML file. An interrupted search goes on with the same command.

    Such a file: {optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}, train.batch_size: [4, 8, 16]}.
    """
    from vitrail.training.search import search as run_search

    result = run_search(
        recipe,
        space,
        trials=trials,
        output_dir=output_dir,
        overrides=overrides,
        data_root=data_root,
        start_from=start_from,
        device=device,
    )
    best = " ".join(map(shlex.quote, result.best.overrides))
    echo(f"{result.table()}\n\nbest, in {output_dir / result.best.folder}: {best}")
