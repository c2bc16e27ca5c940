"""`vitrail dataset`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vitrail.cli.options import FOLDER, PATH, json_option, key_values, overwrite_option
from vitrail.cli.output import echo
from vitrail.errors import VitrailError

if TYPE_CHECKING:
    from vitrail.datasets.check import DatasetReport


class DatasetGroup(click.Group):
    """The verbs of `vitrail dataset`; the name of a dataset in place of a verb checks it."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb, or `check` for the name of a dataset."""
        if args and args[0] not in self.commands:
            args = ["check", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=DatasetGroup)
def dataset() -> None:
    """Check, recognise or copy a dataset.

    `vitrail dataset NAME --root DIR` is short for `vitrail dataset check NAME --root DIR`.
    """


@dataset.command()
@click.argument("name")
@click.option("--root", "--data-root", type=PATH, help="The dataset's folder or archive.")
@click.option("--split", "splits", multiple=True, default=["train", "val"], show_default=True, help="Can be repeated.")
@click.option("--set", "options", multiple=True, metavar="KEY=VALUE", help="A further argument of the dataset.")
@click.option("--channels", type=click.IntRange(1), default=3, show_default=True, help="model.in_channels.")
@click.option("--value-range", type=(float, float), metavar="LOW HIGH", help="data.value_range.")
@click.option("--fix", type=FOLDER, help="Write a corrected copy of a folder of images and masks to this folder.")
@click.option("--turn-masks", is_flag=True, help="With --fix: turn masks, too, as EXIF data turn their images.")
@click.option("--report", type=FOLDER, help="Write a page with samples, shares and problems to this folder.")
@json_option("Print JSON instead of tables.")
@click.option("--write", type=FOLDER, help="Write images, masks and classes.yaml to this folder instead of checking.")
@click.option("--limit", type=click.IntRange(1), help="With --write: number of images of each split to write.")
@overwrite_option
def check(
    name: str,
    root: Path | None,
    splits: Sequence[str],
    options: Sequence[str],
    channels: int,
    value_range: tuple[float, float] | None,
    fix: Path | None,
    turn_masks: bool,
    report: Path | None,
    as_json: bool,
    write: Path | None,
    limit: int | None,
    overwrite: bool,
) -> None:
    """Check a dataset, or copy it.

    Reads every image and mask of dataset NAME (see `vitrail list dataset`), counts the classes, and reports what is
    wrong: what was seen, in which files, what it does to a training, and the line that changes it.

    With --write, copy it into a folder that `data.dataset=folder` reads, as in
    `vitrail dataset scenes --write scenes --limit 20`. With --fix, write a copy of a folder of one's own images in
    which what can be corrected is corrected. Neither changes the dataset itself.
    """
    from vitrail.datasets.check import check_dataset
    from vitrail.datasets.check_page import PAGE, write_page
    from vitrail.datasets.fix import write_fixed
    from vitrail.datasets.pixel_format import PixelFormat
    from vitrail.datasets.write import write_dataset
    from vitrail.errors import DatasetError
    from vitrail.files.outputs import check_free

    arguments = _arguments(options)
    if report is not None:
        check_free([report / PAGE], overwrite=overwrite, error=DatasetError)
    if write is not None:
        for split, images in write_dataset(name, root, splits, write, limit=limit, options=arguments).items():
            echo(f"{split}: {images} images and masks are in {write}")
        return
    if turn_masks and fix is None:
        raise VitrailError("--turn-masks goes with --fix OUT, which writes the turned masks")
    if fix is not None:
        if name != "folder" or root is None:
            raise VitrailError("--fix corrects the dataset 'folder': give that name and its --root")
        echo(f"{write_fixed(root, fix, options=arguments, turn_masks=turn_masks)}\nThe copy is in {fix}")
        return
    checked = check_dataset(name, root, splits, options=arguments, pixels=PixelFormat(channels, value_range))
    echo(_as_json(checked) if as_json else _as_text(checked))
    if report is not None:
        echo(f"the page is {write_page(checked, report)}")
    _refuse(checked)


def _arguments(options: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a dataset, which may be called as in a recipe: data.options.masks=labels."""
    return {key.removeprefix("data.options."): value for key, value in key_values(options).items()}


def _as_json(report: DatasetReport) -> str:
    findings = [finding.to_dict() for finding in report.findings]
    return json.dumps({"splits": [split.to_dict() for split in report.checks], "findings": findings}, indent=1)


def _as_text(report: DatasetReport) -> str:
    said = [f"{finding.severity}: {finding}" for finding in report.findings if finding.severity != "stop"]
    return "\n\n".join([*(split.table() for split in report.checks), *said])


def _refuse(report: DatasetReport) -> None:
    """Raise what is so wrong that a training would be in vain."""
    errors = [error for split in report.checks for error in split.errors] if not report.findings else []
    stops = [str(finding) for finding in report.findings if finding.severity == "stop"] or errors
    if stops:
        raise VitrailError("\n\n".join(stops))


@dataset.command()
@click.argument("folder", type=PATH)
def inspect(folder: Path) -> None:
    """Say what FOLDER is, and the command that trains on it.

    Recognises the benchmarks, folders of images and masks (also MMSegmentation's, Pascal VOC's and CVAT's), and the
    annotations of COCO, labelme, CVAT, YOLO, LightlyTrain, Roboflow, Supervisely, Label Studio and Hugging Face.
    """
    from vitrail.datasets.inspect_folder import inspect_folder

    echo(str(inspect_folder(folder)))


@dataset.command()
@click.argument("source", type=PATH, metavar="IN")
@click.argument("output", type=FOLDER, metavar="OUT")
@click.option(
    "--to", "target", type=click.Choice(["folder", "coco"]), help="By default coco for masks, and folder for the rest."
)
@click.option("--split", "splits", multiple=True, default=["train", "val"], show_default=True, help="Can be repeated.")
@click.option("--set", "options", multiple=True, metavar="KEY=VALUE", help="A further argument of the dataset.")
def convert(source: Path, output: Path, target: str | None, splits: Sequence[str], options: Sequence[str]) -> None:
    """Write the dataset in the folder IN to the folder OUT in another format.

    IN is recognised as by `vitrail dataset inspect`. OUT becomes a folder of images and masks, or of images and
    annotations of COCO.
    """
    from vitrail.datasets.inspect_folder import inspect_folder
    from vitrail.datasets.write import write_dataset
    from vitrail.datasets.write_coco import write_coco

    name, arguments = inspect_folder(source).dataset, _arguments(options)
    target = target or ("coco" if name == "folder" else "folder")
    write = write_coco if target == "coco" else write_dataset
    for split, images in write(name, source, splits, output, options=arguments).items():
        echo(f"{split}: {images} images are in {output}")
