"""`vitrail predict`."""

from __future__ import annotations

import glob
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vitrail.cli.options import (
    FILE,
    PATH,
    amp_option,
    device_option,
    json_option,
    overrides_option,
    overwrite_option,
    recipe_option,
    trust_imports_option,
)
from vitrail.cli.output import count, echo
from vitrail.cli.video import VideoChoices, show_frames, video_options, write_video, writes_video
from vitrail.errors import VitrailError

if TYPE_CHECKING:
    from vitrail.inference.files import OnError, OutputKind
    from vitrail.inference.network import Compile
    from vitrail.inference.output_files import Existing
    from vitrail.inference.predictor import PredictorOptions
    from vitrail.precision import Precision


@click.command()
@click.argument("model_and_images", metavar="[MODEL] IMAGES...", nargs=-1, required=True)
@click.option(
    "-o", "--output-dir", "--output", "output_dir", type=PATH, help="Folder or address for pictures, or a .mp4…"
)
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(["overlay", "colour", "index", "geotiff", "rle"]),
    multiple=True,
    default=["overlay"],
    show_default=True,
    help="Overlays with a legend, masks in colours, masks of class indices, these with the place on Earth of GeoTIFF "
    "images, COCO run lengths of all images in Parquet files; can be repeated.",
)
@click.option("--alpha", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Opacity of the overlay.")
@overwrite_option
@click.option(
    "--skip-existing",
    is_flag=True,
    help="Keep pictures that exist and leave out images that have theirs: goes on with an interrupted prediction.",
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Segment one of N parts of the images, 0/N to (N-1)/N, divided by their names; under torchrun, every process "
    "takes a part.",
)
@click.option(
    "--on-error",
    type=click.Choice(["skip", "stop"]),
    default="skip",
    show_default=True,
    help="Leave out images that cannot be read and name them at the end (exit status 3), or stop at the first.",
)
@click.option("--failures", type=FILE, help="A file for the list of images that were left out, as JSON lines.")
@click.option(
    "--readers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Threads that read images ahead, for a GPU or images from afar; three images for each are in memory.",
)
@click.option(
    "--writers",
    type=click.IntRange(0),
    help="Threads that encode and write pictures while the model goes on; two results for each are in memory. "
    "Without the option 2, or 0 on a CPU with fewer than four threads.",
)
@click.option(
    "--by-window",
    is_flag=True,
    help="For TIFF, COG and whole slides that do not fit into memory: read and write them window by window.",
)
@click.option("--regions", is_flag=True, help="With --by-window: also write the regions of the classes as GeoJSON.")
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Segment the images on a Ray cluster, such as auto, ray://host:10001 or local: each task a part of them.",
)
@recipe_option
@overrides_option
@json_option("Print the area of every class in every image as JSON.")
@device_option
@amp_option
@click.option(
    "--compile",
    type=click.Choice(["none", "graphs", "inductor"]),
    default="none",
    show_default=True,
    help="For many images of one shape: record the model as a CUDA graph, or also compile it.",
)
@trust_imports_option
@video_options
def predict(
    model_and_images: Sequence[str],
    output_dir: Path | None,
    kinds: Sequence[OutputKind],
    alpha: float,
    overwrite: bool,
    skip_existing: bool,
    shard: str | None,
    on_error: OnError,
    failures: Path | None,
    readers: int,
    writers: int | None,
    by_window: bool,
    regions: bool,
    ray: str | None,
    recipe: str | None,
    overrides: Sequence[str],
    as_json: bool,
    device: str | None,
    amp: Precision | None,
    compile: Compile,
    trust_imports: bool,
    video: VideoChoices,
) -> None:
    """Segment images and write pictures, or a video.

    MODEL is a name, a file or an address; without one it is a shipped model, which is named. IMAGES are files,
    folders, patterns, lists of files (.txt, .csv, .parquet), videos, rtsp://… or camera:0. Frames become pictures in a
    folder or in object storage (s3://bucket/masks), or a video where the output's name ends in .mp4, .mov, .mkv or
    .webm.
    """
    from vitrail.files.remote import remote_address
    from vitrail.inference.files import predict_files
    from vitrail.inference.rasters import predict_rasters
    from vitrail.inference.shards import Shard

    if overwrite and skip_existing:
        raise VitrailError("--overwrite and --skip-existing exclude each other: give one of them")
    model, images = _split(model_and_images)
    existing: Existing = "overwrite" if overwrite else "skip" if skip_existing else "refuse"
    options: PredictorOptions = {
        "recipe": recipe,
        "overrides": overrides,
        "device": device,
        "amp": amp,
        "compile": compile,
        "trust_imports": trust_imports,
    }
    given = {
        "--kind": tuple(kinds) != ("overlay",),
        "--json": as_json,
        "--overwrite": overwrite,
        "--skip-existing": skip_existing,
        "--shard": shard is not None,
        "--on-error": on_error != "skip",
        "--failures": failures is not None,
        "--readers": readers > 0,
        "--writers": writers is not None,
        "--by-window": by_window,
        "--ray": ray is not None,
        "--every": video.every > 1,
    }
    if (output_dir is None) != video.show:
        raise VitrailError("give either -o, a folder or the name of a video, or --show")
    if regions and not by_window:
        raise VitrailError("--regions goes with --by-window, which writes them")
    if output_dir is None:
        about_files = {name: given[name] for name in given if name != "--every"}
        show_frames(model, images, video, about_files, alpha=alpha, options=options)
        return
    if writes_video(output_dir):
        _refuse(given, _OF_MANY_PICTURES, "is for pictures: give -o a folder")
        if remote_address(output_dir):
            raise VitrailError("a video is written to a disk of this machine: give -o a path there")
        write_video(model, images, output_dir, video, kinds, existing, alpha=alpha, as_json=as_json, options=options)
        return
    if ray is not None:
        _refuse(given, _NOT_ON_RAY, "does not go with --ray, which divides the images by itself: leave it out")
        _predict_on_ray(ray, model, images, output_dir, kinds, alpha, existing, failures, readers, writers, options)
        return
    if by_window:
        _refuse(given, _NOT_BY_WINDOW, "does not go with --by-window, which writes class indices: leave it out")
    part = None if shard is None else Shard.parse(shard).divided(Shard.of_process())
    with _Records(output_dir, as_json=as_json) as records:
        if by_window:
            predict_rasters(
                model,
                list(images),
                output_dir,
                regions=regions,
                existing=existing,
                shard=part,
                on_record=records.add,
                **options,
            )
            return
        predict_files(
            model,
            video.frames_for_pictures(images),
            output_dir,
            kinds=kinds,
            alpha=alpha,
            existing=existing,
            shard=part,
            on_error=on_error,
            failures=failures,
            readers=readers,
            writers=writers,
            on_record=records.add,
            **options,
        )


# Options that an output does not take.
_OF_MANY_PICTURES = ("--shard", "--on-error", "--failures", "--readers", "--writers", "--by-window", "--ray")
_NOT_ON_RAY = ("--shard", "--on-error", "--by-window", "--json", "--every")
_NOT_BY_WINDOW = ("--kind", "--on-error", "--failures", "--readers", "--writers")


def _refuse(given: Mapping[str, bool], names: Sequence[str], reason: str) -> None:
    """Raise an error for the first of the named options that was given."""
    for name in names:
        if given[name]:
            raise VitrailError(f"{name} {reason}")


def _predict_on_ray(
    address: str,
    model: str,
    images: Sequence[str],
    output_dir: Path,
    kinds: Sequence[OutputKind],
    alpha: float,
    existing: Existing,
    failures: Path | None,
    readers: int,
    writers: int | None,
    options: PredictorOptions,
) -> None:
    """Segment images on a cluster and print the counts; images that could not be read are an error at the end."""
    from vitrail.files.output_folder import shown_path
    from vitrail.inference.files import UnreadableImagesError
    from vitrail.ray import predict_files_on_ray

    result = predict_files_on_ray(
        address,
        model,
        images,
        output_dir,
        kinds=kinds,
        alpha=alpha,
        existing=existing,
        failures=failures,
        readers=readers,
        writers=writers,
        **options,
    )
    echo(f"{count(result.predicted, 'image')}: results are in {shown_path(output_dir)}")
    if result.skipped:
        echo(f"{count(result.skipped, 'image')} left out: their results were in {shown_path(output_dir)} already")
    if result.failures:
        raise UnreadableImagesError("\n".join(result.failures), [])


def _split(arguments: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the model and the images; the first argument is an image where it looks like one, or where it is alone."""
    from vitrail.checkpoints.loading import DEFAULT_MODEL
    from vitrail.files.home import expand_home
    from vitrail.inference.sources import names_frames

    first, *others = arguments
    if not names_frames(first) and not glob.has_magic(first):
        if others:
            return first, others
        if not expand_home(first).is_dir():
            raise VitrailError(f"no images are given: vitrail predict {first} IMAGES... -o FOLDER")
    echo(f"no model is named: taking {DEFAULT_MODEL}, which comes with vitrail", err=True)
    return DEFAULT_MODEL, arguments


class _Records:
    """Prints the areas of the classes in each image as it is finished, or all records as one JSON list.

    Parameters
    ----------
    output_dir : Path
        The folder of the pictures.
    as_json : bool
        Whether to print JSON.
    """

    def __init__(self, output_dir: Path, *, as_json: bool) -> None:
        self._output_dir = output_dir
        self._as_json = as_json
        self._new = self._skipped = 0

    def add(self, record: dict[str, Any]) -> None:
        """Print the record of an image."""
        first = not self._new + self._skipped
        skipped = bool(record.get("skipped"))
        self._skipped, self._new = self._skipped + skipped, self._new + (not skipped)
        if self._as_json:
            self._print("[" if first else ",")
            self._print(textwrap.indent(json.dumps(record, indent=1), " "), nl=False)
        elif not skipped:
            shares = ", ".join(f"{area['name']} {area['share']:.1%}" for area in record["areas"][:4])
            self._print(f"{record['id']}: {shares}")

    def _print(self, text: str, *, nl: bool = True) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode():  # the progress bar makes room
            echo(text, nl=nl)

    def __enter__(self) -> _Records:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        from vitrail.files.output_folder import shown_path
        from vitrail.inference.files import UnreadableImagesError

        if self._as_json:
            if self._new + self._skipped:
                echo("\n]")
            elif error is None:
                echo("[]")
            return
        if error is not None and not isinstance(error, UnreadableImagesError):
            return
        where = shown_path(self._output_dir)
        if self._new:
            echo(f"{count(self._new, 'image')}: results are in {where}")
        if self._skipped:
            echo(f"{count(self._skipped, 'image')} left out: their results were in {where} already")
