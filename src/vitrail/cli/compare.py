"""`vitrail compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from vitrail.cli.options import FILE, FOLDER, overwrite_option
from vitrail.cli.output import echo


@click.command()
@click.argument("folders", nargs=-1, required=True, type=FOLDER, metavar="FOLDER...")
@click.option("--page", type=FILE, help="Write a page with the table and the curves to this HTML file.")
@overwrite_option
def compare(folders: Sequence[Path], page: Path | None, overwrite: bool) -> None:
    """Compare runs: figures, curves, and what differs in their recipes.

    FOLDER is the output folder of a run; a shell expands `runs/*`.
    """
    from vitrail.errors import TrainingError
    from vitrail.files.atomic import atomic_path
    from vitrail.files.outputs import check_free
    from vitrail.training.compare import read_run, table
    from vitrail.training.compare_page import compare_page

    if page is not None:
        check_free([page], overwrite=overwrite, error=TrainingError)
    runs = [read_run(folder) for folder in folders]
    echo(table(runs))
    if page is not None:
        try:
            with atomic_path(page) as temporary:
                temporary.write_text(compare_page(runs), encoding="utf-8")
        except OSError as error:
            raise TrainingError(f"cannot write {page}: {error}") from error
