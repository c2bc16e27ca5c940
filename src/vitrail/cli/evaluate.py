"""`vitrail evaluate`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vitrail.cli.options import (
    FOLDER,
    amp_option,
    data_root_option,
    device_option,
    json_option,
    model_argument,
    overrides_argument,
    overwrite_option,
    recipe_option,
    trust_imports_option,
)
from vitrail.cli.output import print_once

if TYPE_CHECKING:
    from vitrail.precision import Precision


@click.command()
@model_argument
@overrides_argument
@recipe_option
@data_root_option
@click.option("--split", help="Such as val; the recipe's by default.")
@json_option("Print JSON instead of a table.")
@click.option(
    "--save-predictions", type=FOLDER, help="Write every prediction, as a PNG of class indices, to this folder."
)
@click.option("--report", type=FOLDER, help="Write a page with the worst images to this folder.")
@click.option("--worst", type=click.IntRange(1), default=20, show_default=True, help="Images in the report.")
@click.option("--submission", type=FOLDER, help="Write every prediction as the benchmark's server takes it, here.")
@overwrite_option
@device_option
@amp_option
@trust_imports_option
def evaluate(
    model: str,
    overrides: Sequence[str],
    recipe: str | None,
    data_root: Path | None,
    split: str | None,
    as_json: bool,
    save_predictions: Path | None,
    report: Path | None,
    worst: int,
    submission: Path | None,
    overwrite: bool,
    device: str | None,
    amp: Precision | None,
    trust_imports: bool,
) -> None:
    """Evaluate a model on a dataset.

    MODEL is a name, a file or an address.

    KEY=VALUE changes a value of the recipe, such as evaluation.flip=true.
    """
    from vitrail.evaluation import evaluate as run_evaluation

    evaluation = run_evaluation(
        model,
        recipe=recipe,
        overrides=overrides,
        data_root=data_root,
        split=split,
        device=device,
        amp=amp,
        save_predictions=save_predictions,
        report=report,
        worst=worst,
        submission=submission,
        overwrite=overwrite,
        trust_imports=trust_imports,
    )
    print_once(json.dumps(evaluation.to_dict(), indent=1) if as_json else evaluation.table())
    if submission is not None and not as_json:
        print_once(f"{evaluation.images} files for the benchmark's server are in {submission}")
