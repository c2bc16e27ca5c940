"""The part of `vitrail predict` that is about videos."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vitrail.cli.output import count, echo
from vitrail.errors import VitrailError

if TYPE_CHECKING:
    from vitrail.inference import VideoResult
    from vitrail.inference.output_files import Existing
    from vitrail.inference.predictor import PredictorOptions
    from vitrail.inference.sources import Pictures


@dataclass(frozen=True)
class VideoChoices:
    """The options of `vitrail predict` for videos."""

    every: int
    smoothing: float
    side_by_side: bool
    no_audio: bool
    show: bool

    def frames_for_pictures(self, images: Sequence[str]) -> Pictures:
        """Return the frames that become pictures; options that need a video as output are refused."""
        from vitrail.inference.sources import EveryNth, open_frames
        from vitrail.inference.video_writer import ENCODERS

        given = {"--smoothing": self.smoothing, "--side-by-side": self.side_by_side, "--no-audio": self.no_audio}
        for name, value in given.items():
            if value:
                raise VitrailError(
                    f"{name} is for a video as output: give -o a name that ends in {', '.join(ENCODERS)}"
                )
        return images if self.every == 1 else EveryNth(open_frames(images), self.every)


def video_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for videos to a verb, which gets them as `video`."""

    @click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Take every n-th frame.")
    @click.option(
        "--smoothing",
        type=click.FloatRange(0, 1, max_open=True),
        default=0.0,
        show_default=True,
        help="Weight of earlier frames of a video in the mean of the probabilities.",
    )
    @click.option("--side-by-side", is_flag=True, help="Show each frame of a video beside its overlay.")
    @click.option("--no-audio", is_flag=True, help="Leave out the sound of a video.")
    @click.option("--show", is_flag=True, help="Show the overlays in a browser while they are made, in place of -o.")
    @functools.wraps(command)
    def with_choices(
        *, every: int, smoothing: float, side_by_side: bool, no_audio: bool, show: bool, **others: Any
    ) -> Any:
        return command(video=VideoChoices(every, smoothing, side_by_side, no_audio, show), **others)

    return with_choices


def writes_video(output: Path) -> bool:
    """Return whether an output is a video, by its suffix; a folder that exists is none."""
    from vitrail.inference.video_writer import is_video_name

    return is_video_name(output) and not output.is_dir()


def show_frames(
    model: str,
    images: Sequence[str],
    video: VideoChoices,
    for_files: Mapping[str, bool],
    *,
    alpha: float,
    options: PredictorOptions,
) -> None:
    """Segment a video, a camera or pictures, and show the overlays in a browser.

    `for_files` says which options were given that are about files.
    """
    from vitrail.inference import LiveView, show_video

    for name, given in {**for_files, "--side-by-side": video.side_by_side, "--no-audio": video.no_audio}.items():
        if given:
            raise VitrailError(f"{name} is about files that are written: leave it out, or give -o in place of --show")
    with LiveView() as view:
        echo(f"{view.url} (Ctrl+C stops)")
        click.launch(view.url)
        frames = show_video(model, images, view, alpha=alpha, every=video.every, smoothing=video.smoothing, **options)
    echo(f"{count(frames, 'frame')} shown")


def write_video(
    model: str,
    images: Sequence[str],
    output: Path,
    video: VideoChoices,
    kinds: Sequence[str],
    existing: Existing,
    *,
    alpha: float,
    as_json: bool,
    options: PredictorOptions,
) -> None:
    """Segment a video and print what was written."""
    from vitrail.inference import TruncatedVideoError, predict_video

    if tuple(kinds) != ("overlay",):
        raise VitrailError("a video shows overlays: leave out --kind, or give -o a folder")
    if existing == "skip":
        raise VitrailError("--skip-existing is for pictures: give -o a folder")
    try:
        result = predict_video(
            model,
            images,
            output,
            alpha=alpha,
            side_by_side=video.side_by_side,
            every=video.every,
            smoothing=video.smoothing,
            audio=not video.no_audio,
            overwrite=existing == "overwrite",
            **options,
        )
    except TruncatedVideoError as error:
        _print(error.result, video, as_json)
        raise
    _print(result, video, as_json)


def _print(result: VideoResult, video: VideoChoices, as_json: bool) -> None:
    if as_json:
        echo(json.dumps(result.to_dict(), indent=1))
        return
    shares = ", ".join(f"{name} {share:.1%}" for name, share in list(result.shares.items())[:4])
    before = f" ({result.flicker_before:.2%} before smoothing)" if video.smoothing else ""
    echo(f"{result.path}: {count(result.frames, 'frame')}, {shares}")
    echo(f"flicker: {result.flicker:.2%} of the pixels change their class from frame to frame{before}")
