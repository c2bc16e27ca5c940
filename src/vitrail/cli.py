"""The `vitrail` command. Every verb calls one function of the library; what is heavy is imported by the verb itself."""

from __future__ import annotations

import fnmatch
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vitrail import __version__
from vitrail.errors import VitrailError, nearest

if TYPE_CHECKING:
    from vitrail.inference.prediction import Kind
    from vitrail.runtime.device import Precision

FOLDER = click.Path(file_okay=False, path_type=Path)
Command = TypeVar("Command", bound=Callable[..., Any])


def main() -> None:
    """Run the command line: a user's mistake ends in one message and status 2, a bug keeps its traceback."""
    try:
        cli()
    except VitrailError as error:
        click.echo(f"vitrail: {error}", err=True)
        sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="vitrail")
def cli() -> None:
    """Semantic segmentation: train, evaluate, predict.

    Try it: `vitrail train fastscnn_scenes --output-dir runs/first` needs no data.
    """


def _device_option(command: Command) -> Command:
    return click.option("--device", help="Such as cuda, cuda:1, mps or cpu; the best there is by default.")(command)


def _precision_option(command: Command) -> Command:
    choice = click.Choice(["none", "bfloat16", "float16"])
    return click.option("--amp", type=choice, default="none", show_default=True, help="Precision of the model.")(
        command
    )


@cli.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-o", "--output-dir", type=FOLDER, required=True, help="For models, state and logs.")
@click.option("--data-root", type=click.Path(path_type=Path), help="The dataset's folder; else the recipe's data.root.")
@click.option("--resume", is_flag=True, help="Go on with the run in the output folder.")
@_device_option
def train(
    recipe: str, overrides: Sequence[str], output_dir: Path, data_root: Path | None, resume: bool, device: str | None
) -> None:
    """Train a model.

    RECIPE is a name (see `vitrail recipes`) or a YAML file.

    KEY=VALUE changes a value of the recipe, such as train.batch_size=8. On several devices:
    `torchrun --nproc-per-node 4 -m vitrail train …`.
    """
    from vitrail.training import train as run_training

    run = run_training(
        recipe, output_dir=output_dir, overrides=overrides, data_root=data_root, resume=resume, device=device
    )
    _say(f"{run.evaluation.table()}\n\nbest model: {run.best}\nlast model: {run.last}")


@cli.command()
@click.argument("model")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--recipe", help="A name or a YAML file; the model's own by default.")
@click.option("--data-root", type=click.Path(path_type=Path), help="The dataset's folder; else the recipe's data.root.")
@click.option("--split", help="Such as val; the recipe's by default.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--save-predictions", type=FOLDER, help="Write every prediction, as a PNG of class indices, to this folder."
)
@click.option("--report", type=FOLDER, help="Write a page with the worst images to this folder.")
@click.option("--worst", type=click.IntRange(1), default=20, show_default=True, help="Images in the report.")
@_device_option
@_precision_option
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
    device: str | None,
    amp: Precision,
) -> None:
    """Judge a model on a dataset.

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
    )
    _say(json.dumps(evaluation.to_dict(), indent=1) if as_json else evaluation.table())


@cli.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True)
@click.option("-o", "--output-dir", type=FOLDER, required=True, help="For the pictures.")
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(["overlay", "colour", "index"]),
    multiple=True,
    default=["overlay"],
    show_default=True,
    help="Overlays with a legend, masks in colours, masks of class indices; can be given several times.",
)
@click.option("--alpha", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Share of the colours.")
@click.option("--recipe", help="A name or a YAML file; the model's own by default.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the recipe.")
@click.option("--json", "as_json", is_flag=True, help="Print the area of every class in every image as JSON.")
@_device_option
@_precision_option
def predict(
    model: str,
    images: Sequence[str],
    output_dir: Path,
    kinds: Sequence[Kind],
    alpha: float,
    recipe: str | None,
    overrides: Sequence[str],
    as_json: bool,
    device: str | None,
    amp: Precision,
) -> None:
    """Segment images and write pictures.

    MODEL is a name, a file or an address; IMAGES are files, folders or patterns.
    """
    from vitrail.inference.files import UnreadableImagesError, predict_files

    try:
        records = predict_files(
            model,
            images,
            output_dir,
            kinds=kinds,
            alpha=alpha,
            recipe=recipe,
            overrides=overrides,
            device=device,
            amp=amp,
        )
    except UnreadableImagesError as error:
        _print_areas(error.records, output_dir, as_json)
        raise
    _print_areas(records, output_dir, as_json)


@cli.command()
@click.argument("wanted", metavar="[FILTER]", default="")
def recipes(wanted: str) -> None:
    """List the recipes.

    FILTER is a part of the name or a pattern, such as pspnet*ade20k.
    """
    from vitrail.recipes import list_recipes

    _print_matching(list_recipes(), wanted, "recipe")


@cli.command()
@click.argument("name")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def recipe(name: str, overrides: Sequence[str]) -> None:
    """Print a recipe with every value it stands for."""
    from vitrail.recipes import dump_recipe, load_recipe

    click.echo(dump_recipe(load_recipe(name, overrides)), nl=False)


@cli.command()
@click.argument("wanted", metavar="[FILTER]", default="")
def segmentors(wanted: str) -> None:
    """List the methods."""
    from vitrail.segmentors import SEGMENTORS

    summaries = {name: _summary(SEGMENTORS[name].builder) for name in SEGMENTORS}
    _print_matching(summaries, wanted, "segmentor", summaries)


@cli.command()
@click.argument("wanted", metavar="[FILTER]", default="")
def backbones(wanted: str) -> None:
    """List the encoders, vitrail's own and timm's."""
    from vitrail.backbones import list_backbones

    _print_matching(list_backbones(), wanted, "backbone")


@cli.command()
def datasets() -> None:
    """List the datasets."""
    from vitrail.evaluation.dataset_check import describe_datasets

    _print_matching(list(describe_datasets()), "", "dataset", describe_datasets())


@cli.command()
@click.argument("name")
@click.option("--root", "--data-root", type=click.Path(path_type=Path), help="The dataset's folder or archive.")
@click.option("--split", "splits", multiple=True, default=["train", "val"], show_default=True, help="Can be repeated.")
@click.option("--set", "options", multiple=True, metavar="KEY=VALUE", help="A further argument of the dataset.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--write", type=FOLDER, help="Write images, masks and classes.yaml to this folder instead of checking.")
@click.option("--limit", type=click.IntRange(1), help="With --write: so many images of each split.")
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

    Reads every image and mask of dataset NAME, counts the classes, and reports what is wrong.

    With --write, copy it into a folder that `data.dataset=folder` reads, as in
    `vitrail dataset scenes --write scenes --limit 20`.
    """
    from vitrail.evaluation.dataset_check import check_dataset, export_dataset

    arguments = _key_values(options)
    if write is not None:
        for split, count in export_dataset(name, root, splits, write, limit=limit, options=arguments).items():
            click.echo(f"{split}: {count} images and masks are in {write}")
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
        raise VitrailError(f"{_count(len(errors), 'image')} cannot be used:\n" + "\n".join(errors[:10]) + more)


@cli.command()
@click.argument("wanted", metavar="[NAME]", default="")
@click.option("--method", help="Such as pspnet.")
@click.option("--backbone", help="Such as resnet50c.")
@click.option("--dataset", help="Such as ade20k.")
@click.option("--project", help="Such as mmseg.")
@click.option("--supported/--unsupported", default=None, help="Those that vitrail loads, or those it does not yet.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def weights(
    wanted: str,
    method: str | None,
    backbone: str | None,
    dataset: str | None,
    project: str | None,
    supported: bool | None,
    as_json: bool,
) -> None:
    """List published checkpoints.

    NAME is part of a name, or a pattern such as "mmseg/pspnet*". `vitrail.load`, `evaluate`, `predict` and `convert`
    take the names listed.
    """
    from vitrail.checkpoints import list_weights, weights_table

    entries = list_weights(
        wanted, method=method, backbone=backbone, dataset=dataset, project=project, supported=supported
    )
    click.echo(json.dumps([entry.to_dict() for entry in entries], indent=1) if as_json else weights_table(entries))


@cli.command()
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--like", help="The published model that IN is built like, where it does not say (see `vitrail weights`)."
)
@click.option("--class", "classes", multiple=True, help="With --like: the name of a class; once for each, in order.")
def convert(source: str, target: Path, like: str | None, classes: Sequence[str]) -> None:
    """Turn a checkpoint into one self-describing file.

    IN is whatever `vitrail.load` reads: a checkpoint of a supported project, a name, an address. OUT is a .safetensors.
    """
    from vitrail.checkpoints import convert_file

    click.echo(f"{convert_file(source, target, like=like, classes=classes or None)} -> {target}")


def _say(text: str) -> None:
    """Print a result once, from the main process."""
    from vitrail.runtime.distributed import local_rank

    if not local_rank():
        click.echo(text)


def _print_areas(records: Sequence[dict[str, Any]], output_dir: Path, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(records, indent=1))
        return
    for record in records:
        shares = ", ".join(f"{area['name']} {area['share']:.1%}" for area in record["areas"][:4])
        click.echo(f"{record['id']}: {shares}")
    if records:
        click.echo(f"{_count(len(records), 'image')}: pictures are in {output_dir}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _summary(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip().split("\n")[0]


def _print_matching(
    names: Sequence[str] | dict[str, str], wanted: str, kind: str, notes: dict[str, str] | None = None
) -> None:
    pattern = wanted if any(letter in wanted for letter in "*?[") else f"*{wanted}*"
    chosen = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    if not chosen:
        raise VitrailError(f"no {kind} matches {wanted!r}.{nearest(wanted, names)}")
    width = max(map(len, chosen))
    for name in chosen:
        click.echo(f"{name:<{width}}  {notes[name]}" if notes else name)


def _key_values(options: Sequence[str]) -> dict[str, Any]:
    from vitrail.files.yaml_file import parse_yaml_value

    values = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise VitrailError(f"--set wants KEY=VALUE, not {option!r}")
        values[key] = parse_yaml_value(value, f"--set {option!r}", VitrailError)
    return values
