"""`vitrail dataset`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from vitrail.cli.options import FOLDER, PATH, json_option, key_values
from vitrail.cli.output import count
from vitrail.errors import VitrailError


@click.command()
@click.argument("name")
@click.option("--root", "--data-root", type=PATH, help="The dataset's folder or archive.")
@click.option("--split", "splits", multiple=True, default=["train", "val"], show_default=True, help="Can be repeated.")
@click.option("--set", "options", multiple=True, metavar="KEY=VALUE", help="A further argument of the dataset.")
@json_option("Print JSON instead of tables.")
@click.option("--write", type=FOLDER, help="Write images, masks and classes.yaml to this folder instead of checking.")
@click.option("--limit", type=click.IntRange(1), help="With --write: number of images of each split to write.")
def dataset(
    name: str,
    root: Path | None,
    splits: Sequence[str],
    options: Sequence[str],
    as_json: bool,
    write: Path | None,
    limit: int | None,
) -> None:
    """Check or copy a dataset.

    Reads every image and mask of dataset NAME (see `vitrail list dataset`), counts the classes, and reports what is
    wrong.

    With --write, copy it into a folder that `data.dataset=folder` reads, as in
    `vitrail dataset scenes --write scenes --limit 20`.
    """
    from vitrail.datasets.check import check_dataset
    from vitrail.datasets.write import write_dataset

    arguments = key_values(options)
    if write is not None:
        for split, images in write_dataset(name, root, splits, write, limit=limit, options=arguments).items():
            click.echo(f"{split}: {images} images and masks are in {write}")
        return
    checks = [check_dataset(name, root, split, options=arguments) for split in splits]
    click.echo(
        json.dumps([check.to_dict() for check in checks], indent=1)
        if as_json
        else "\n\n".join(check.table() for check in checks)
    )
    errors = [error for check in checks for error in check.errors]
    if errors:
        more = f"\n… and {len(errors) - 10} more" if len(errors) > 10 else ""
        raise VitrailError(f"{count(len(errors), 'image')} cannot be used:\n" + "\n".join(errors[:10]) + more)
