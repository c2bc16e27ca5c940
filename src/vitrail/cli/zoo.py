"""`vitrail zoo verify`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from vitrail.cli.options import FILE, FOLDER, device_option, json_option, overrides_option
from vitrail.cli.output import echo


@click.group()
def zoo() -> None:
    """Check published models."""


@zoo.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--data-root", "data_roots", multiple=True, required=True, metavar="[DATASET=]FOLDER", help="One for each dataset."
)
@click.option("--files", type=FOLDER, help="A folder with the checkpoints' files; else they are downloaded.")
@click.option(
    "--results", type=FILE, default="verified.json", show_default=True, help="Results; what is in it is not redone."
)
@click.option(
    "--tolerance", type=click.FloatRange(0), default=0.1, show_default=True, help="In percentage points; see below."
)
@json_option("Print JSON instead of a table.")
@overrides_option
@device_option
def verify(
    names: Sequence[str],
    data_roots: Sequence[str],
    files: Path | None,
    results: Path,
    tolerance: float,
    as_json: bool,
    overrides: Sequence[str],
    device: str | None,
) -> None:
    """Evaluate models as they were published, and print measured beside published mIoU.

    NAME is the name of a published checkpoint or a pattern such as "mmseg/pspnet*cityscapes*" (`vitrail weights` lists
    them), or a file, an address or hf/ORG/NAME. Each model's own recipe says how it is evaluated.

    The exit status is 1 when a model could not be evaluated, or reaches less than published by more than the tolerance.
    """
    from vitrail.evaluation.verify import verification_table, verify_published

    rows = verify_published(names, data_roots, results=results, files=files, overrides=overrides, device=device)
    described = [{**asdict(row), "difference": row.difference} for row in rows]
    echo(json.dumps(described, indent=1) if as_json else verification_table(rows))
    if any(row.error or 100 * (row.difference or 0.0) < -tolerance for row in rows):
        sys.exit(1)
