"""`vitrail predict`."""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vitrail.cli.options import (
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
    from vitrail.inference.network import Compile
    from vitrail.inference.output_files import Existing
    from vitrail.inference.prediction import Kind
    from vitrail.inference.predictor import PredictorOptions
    from vitrail.precision import Precision


@click.command()
@click.argument("model_and_images", metavar="[MODEL] IMAGES...", nargs=-1, required=True)
@click.option("-o", "--output-dir", "--output", "output_dir", type=PATH, help="Folder for pictures, or a .mp4…")
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(["overlay", "colour", "index", "geotiff"]),
    multiple=True,
    default=["overlay"],
    show_default=True,
    help="Overlays with a legend, masks in colours, masks of class indices, these with the place on Earth of GeoTIFF "
    "images; can be repeated.",
)
@click.option("--alpha", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Opacity of the overlay.")
@overwrite_option
@click.option(
    "--skip-existing",
    is_flag=True,
    help="Keep pictures that exist and leave out images that have theirs: goes on with an interrupted prediction.",
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
    kinds: Sequence[Kind],
    alpha: float,
    overwrite: bool,
    skip_existing: bool,
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
    folders, patterns, videos, rtsp://… or camera:0. Frames become pictures in a folder, or a video where the output's
    name ends in .mp4, .mov, .mkv or .webm.
    """
    from vitrail.inference.files import UnreadableImagesError, predict_files

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
    if (output_dir is None) != video.show:
        raise VitrailError("give either -o, a folder or the name of a video, or --show")
    if output_dir is None:
        for_files = {"--json": as_json, "--kind": tuple(kinds) != ("overlay",), "--overwrite": overwrite}
        for_files["--skip-existing"] = skip_existing
        show_frames(model, images, video, for_files, alpha=alpha, options=options)
        return
    if writes_video(output_dir):
        write_video(model, images, output_dir, video, kinds, existing, alpha=alpha, as_json=as_json, options=options)
        return
    try:
        frames = video.frames_for_pictures(images)
        records = predict_files(model, frames, output_dir, kinds=kinds, alpha=alpha, existing=existing, **options)
    except UnreadableImagesError as error:
        _print_areas(error.records, output_dir, as_json)
        raise
    _print_areas(records, output_dir, as_json)


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


def _print_areas(records: Sequence[dict[str, Any]], output_dir: Path, as_json: bool) -> None:
    if as_json:
        echo(json.dumps(records, indent=1))
        return
    new = [record for record in records if not record.get("skipped")]
    for record in new:
        shares = ", ".join(f"{area['name']} {area['share']:.1%}" for area in record["areas"][:4])
        echo(f"{record['id']}: {shares}")
    if new:
        echo(f"{count(len(new), 'image')}: pictures are in {output_dir}")
    if len(new) < len(records):
        echo(f"{count(len(records) - len(new), 'image')} left out: their pictures were in {output_dir} already")
