"""`vitrail train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from vitrail.cli.options import (
    data_root_option,
    device_option,
    output_dir_option,
    overrides_argument,
    start_from_option,
)
from vitrail.cli.output import print_once


class _Train(click.Command):
    """Takes --resume=auto, which click would read as a value of a flag."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["--resume-auto" if each == "--resume=auto" else each for each in args])


@click.command(cls=_Train)
@click.argument("recipe")
@overrides_argument
@output_dir_option("For models, state and logs.")
@data_root_option
@click.option("--resume", is_flag=True, help="Continue the run in the output folder.")
@click.option(
    "--resume-auto",
    is_flag=True,
    help="Or --resume=auto: continue the run if there is one, else start it, as torchrun --max-restarts needs.",
)
@start_from_option
@device_option
def train(
    recipe: str,
    overrides: Sequence[str],
    output_dir: Path,
    data_root: Path | None,
    resume: bool,
    resume_auto: bool,
    start_from: str | None,
    device: str | None,
) -> None:
    """Train a model.

    RECIPE is a name (see `vitrail recipes`), mmseg/ and the name of a config of MMSegmentation, or a YAML file.

    KEY=VALUE changes a value of the recipe, such as train.batch_size=8. On several devices:
    `torchrun --nproc-per-node 4 -m vitrail train …`.
    """
    from vitrail.recipes import load_recipe

    loaded = load_recipe(recipe, overrides)  # mistakes in it are told before PyTorch is imported
    from vitrail.training import train as run_training

    run = run_training(
        loaded,
        output_dir=output_dir,
        data_root=data_root,
        resume="auto" if resume_auto else resume,
        start_from=start_from,
        device=device,
    )
    best = run.best if run.best.exists() else "none: no evaluation during the training had a labelled pixel to count"
    print_once(f"{run.evaluation.table()}\n\nbest model: {best}\nlast model: {run.last}")
