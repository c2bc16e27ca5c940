"""`vitrail train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from vitrail.cli.options import data_root_option, device_option, output_dir_option, overrides_argument
from vitrail.cli.output import print_once


@click.command()
@click.argument("recipe")
@overrides_argument
@output_dir_option("For models, state and logs.")
@data_root_option
@click.option("--resume", is_flag=True, help="Continue the run in the output folder.")
@click.option(
    "--from",
    "start_from",
    metavar="MODEL",
    help="A trained model to start from: a name (see `vitrail weights`), a file or an address.",
)
@device_option
def train(
    recipe: str,
    overrides: Sequence[str],
    output_dir: Path,
    data_root: Path | None,
    resume: bool,
    start_from: str | None,
    device: str | None,
) -> None:
    """Train a model.

    RECIPE is a name (see `vitrail recipes`) or a YAML file.

    KEY=VALUE changes a value of the recipe, such as train.batch_size=8. On several devices:
    `torchrun --nproc-per-node 4 -m vitrail train …`.
    """
    from vitrail.training import train as run_training

    run = run_training(
        recipe,
        output_dir=output_dir,
        overrides=overrides,
        data_root=data_root,
        resume=resume,
        start_from=start_from,
        device=device,
    )
    print_once(f"{run.evaluation.table()}\n\nbest model: {run.best}\nlast model: {run.last}")
