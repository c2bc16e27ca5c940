"""`vitrail weights` and `vitrail convert`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from vitrail.cli.options import PATH, json_option, overwrite_option, trust_imports_option
from vitrail.cli.output import echo
from vitrail.errors import VitrailError


@click.command()
@click.argument("wanted", metavar="[NAME]", default="")
@click.option("--method", help="Such as pspnet.")
@click.option("--backbone", help="Such as resnet50c.")
@click.option("--dataset", help="Such as ade20k.")
@click.option("--project", help="How names begin: mmseg, ssseg, torchvision, smp-hub or hf.")
@click.option("--best", metavar="DATASET", help="Those of a dataset that no other beats in both mIoU and parameters.")
@click.option("--speed", is_flag=True, help="With --best: also measure them on this machine.")
@click.option("--supported/--unsupported", default=None, help="Those that vitrail loads, or those it does not yet.")
@click.option("--task", help="What the dataset shows: aerial, driving, medical, objects, people or scenes.")
@click.option("--license", help="Part of the licence, such as Apache.")
@click.option("--commercial", is_flag=True, help="Only those whose licence is known to allow any use.")
@json_option("Print JSON instead of a table.")
def weights(
    wanted: str,
    method: str | None,
    backbone: str | None,
    dataset: str | None,
    project: str | None,
    best: str | None,
    speed: bool,
    supported: bool | None,
    task: str | None,
    license: str | None,
    commercial: bool,
    as_json: bool,
) -> None:
    """List published checkpoints.

    NAME is part of a name, or a pattern such as "mmseg/pspnet*". `vitrail.load`, `evaluate`, `predict` and `convert`
    take the names listed.
    """
    from vitrail.checkpoints import best_table, best_weights, list_weights, weights_table

    if best is not None:
        if wanted or dataset or supported is not None or task or license:
            raise VitrailError(
                "--best DATASET goes with --method, --backbone, --project, --commercial and --speed, and nothing else"
            )
        choices = best_weights(
            best, method=method, backbone=backbone, project=project, commercial=commercial, speed=speed
        )
        echo(json.dumps([choice.to_dict() for choice in choices], indent=1) if as_json else best_table(choices))
        return
    if speed:
        raise VitrailError("--speed goes with --best DATASET")

    entries = list_weights(
        wanted,
        method=method,
        backbone=backbone,
        dataset=dataset,
        project=project,
        supported=supported,
        task=task,
        license=license,
        commercial=commercial,
    )
    echo(json.dumps([entry.to_dict() for entry in entries], indent=1) if as_json else weights_table(entries))


@click.command()
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT", type=PATH)
@click.option(
    "--like", help="The published model with the same architecture, when IN does not describe it (`vitrail weights`)."
)
@click.option(
    "--class",
    "classes",
    multiple=True,
    help="With --like, or for an open vocabulary: the name of a class; once for each, in order.",
)
@click.option(
    "--classes",
    "class_list",
    type=PATH,
    metavar="FILE",
    help="The names in a file instead: one a line, or classes.yaml.",
)
@click.option("--vocabulary", type=PATH, metavar="FILE", help="CLIP's merges.txt, for names with unknown words.")
@click.option(
    "--base",
    help="The weights from which IN holds the differences: for EoMT's those of DINOv3 in transformers' format.",
)
@click.option(
    "--to",
    default="vitrail",
    show_default=True,
    help="Whose format: vitrail, mmseg, ssseg, transformers, that of a method's authors (see the docs), or that "
    "of a plugin's checkpoint source.",
)
@overwrite_option
@trust_imports_option
def convert(
    source: str,
    target: Path,
    like: str | None,
    classes: Sequence[str],
    class_list: Path | None,
    vocabulary: Path | None,
    base: str | None,
    to: str,
    overwrite: bool,
    trust_imports: bool,
) -> None:
    """Convert a checkpoint to one self-describing file, or to a checkpoint of another project.

    IN is whatever `vitrail.load` reads: a checkpoint of a supported project, a name, an address. OUT is a .safetensors;
    with --to mmseg or ssseg it is a .pth that loads in that project's model, whose config is named where there is one;
    with --to transformers it is a folder that from_pretrained of transformers loads. SAN, of an open vocabulary,
    is converted for the classes that are named.
    """
    from vitrail.checkpoints import convert_file
    from vitrail.datasets.class_file import read_class_yaml, read_names

    if class_list is not None:
        if classes:
            raise VitrailError("--class and --classes both name the classes: give one of them")
        read = read_class_yaml if class_list.suffix in (".yaml", ".yml") else read_names
        classes = read(class_list).classes
    described = convert_file(
        source,
        target,
        to=to,
        like=like,
        classes=classes or None,
        vocabulary=vocabulary,
        base=base,
        overwrite=overwrite,
        trust_imports=trust_imports,
    )
    echo(f"{described} -> {target}")
