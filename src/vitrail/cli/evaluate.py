"""`vitrail evaluate`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from vitrail.cli.options import (
    FOLDER,
    PATH,
    amp_option,
    data_root_option,
    device_option,
    json_option,
    overrides_argument,
    overwrite_option,
    recipe_option,
    trust_imports_option,
)
from vitrail.cli.output import print_once
from vitrail.errors import VitrailError

if TYPE_CHECKING:
    from vitrail.precision import Precision


@click.command()
@click.argument("model", required=False)
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
@click.option(
    "--shard",
    metavar="I/N",
    help="Evaluate one of N parts of the images, 0/N to (N-1)/N, and write its counts to --parts.",
)
@click.option("--parts", type=PATH, help="Folder or address for the counts of --shard.")
@click.option("--merge", type=PATH, help="Add up the counts of all parts in this folder; without MODEL.")
@overwrite_option
@device_option
@amp_option
@trust_imports_option
def evaluate(
    model: str | None,
    overrides: Sequence[str],
    recipe: str | None,
    data_root: Path | None,
    split: str | None,
    as_json: bool,
    save_predictions: Path | None,
    report: Path | None,
    worst: int,
    submission: Path | None,
    shard: str | None,
    parts: Path | None,
    merge: Path | None,
    overwrite: bool,
    device: str | None,
    amp: Precision | None,
    trust_imports: bool,
) -> None:
    """Evaluate a model on a dataset.

    MODEL is a name, a file or an address.

    Parts of the images can be evaluated on machines that know nothing of each other, with --shard and --parts; --merge
    FOLDER then gives the figures of all.

    KEY=VALUE changes a value of the recipe, such as evaluation.flip=true.
    """
    from vitrail.evaluation import evaluate as run_evaluation
    from vitrail.evaluation import merge_evaluations
    from vitrail.files.output_folder import shown_path
    from vitrail.inference import Shard

    if merge is not None:
        context = click.get_current_context()
        given = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
        if given - {"merge", "as_json"}:
            raise VitrailError("--merge adds up what was counted: it goes with --json only")
        merged = merge_evaluations(merge)
        print_once(json.dumps(merged.to_dict(), indent=1) if as_json else merged.table())
        return
    if model is None:
        raise VitrailError("give a MODEL to evaluate, or --merge with a folder of counts")
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
        shard=None if shard is None else Shard.parse(shard),
        parts=parts,
        overwrite=overwrite,
        trust_imports=trust_imports,
    )
    if shard is not None and parts is not None and not as_json:
        print_once(f"part {shard}: the counts of {evaluation.images} images are in {shown_path(parts)}")
        return
    print_once(json.dumps(evaluation.to_dict(), indent=1) if as_json else evaluation.table())
    if submission is not None and not as_json:
        print_once(f"{evaluation.images} files for the benchmark's server are in {submission}")
