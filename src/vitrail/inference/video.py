"""Segment a video, a stream, a camera or a folder of pictures, and write the result as a video."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from typing_extensions import Unpack

from vitrail.errors import PredictionError, VitrailError
from vitrail.files.outputs import check_free
from vitrail.inference.live_view import LiveView
from vitrail.inference.prediction import Prediction
from vitrail.inference.predictor import Predictor, PredictorOptions, as_predictor
from vitrail.inference.read_ahead import read_ahead
from vitrail.inference.score_map import DenseMap, best_labels
from vitrail.inference.segmenter import chosen_threshold
from vitrail.inference.smoothing import Flicker, Smoothing
from vitrail.inference.sources import EveryNth, Frame, FrameSource, Pictures, Video, VideoFile, VideoFrame, open_frames
from vitrail.inference.sources.opening import JoinedFrames, input_files
from vitrail.inference.sources.video import VideoFacts
from vitrail.inference.video_writer import ENCODERS, VideoWriter, is_video_name
from vitrail.runtime.progress_bar import ProgressBar
from vitrail.segmentors import Segmentor

PICTURE_RATE = 25  # frames per second of a video that is made of single pictures
_BEHIND = 4  # frames that may wait for the encoder


class TimedPrediction(NamedTuple):
    """The prediction of a frame.

    Attributes
    ----------
    prediction : Prediction
        Of the frame.
    time : Fraction
        Seconds from the beginning to the frame.
    duration : Fraction or None
        Seconds until the next one, where that is known.
    """

    prediction: Prediction
    time: Fraction
    duration: Fraction | None


@dataclass(frozen=True)
class VideoResult:
    """What `predict_video` has written.

    Attributes
    ----------
    path : Path
        The video.
    frames : int
        Number of its frames.
    flicker : float
        Mean share of pixels whose class changes from frame to frame, 0…1.
    flicker_before : float
        The same before smoothing.
    shares : dict of str to float
        Mean share of each class, the largest first.
    """

    path: Path
    frames: int
    flicker: float
    flicker_before: float
    shares: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {**vars(self), "path": str(self.path)}


class TruncatedVideoError(PredictionError):
    """A video that ends too early, or frames that cannot be read.

    Attributes
    ----------
    result : VideoResult
        What was written of the others.
    """

    def __init__(self, message: str, result: VideoResult) -> None:
        super().__init__(message)
        self.result = result


class VideoSegmenter:
    """Segments the frames of a source in order, with temporal smoothing; frames are decoded in a thread of their own.

    Parameters
    ----------
    predictor : Predictor
        The model. `predictor.settings.batch_size` frames go through it together.
    smoothing : float
        Weight of earlier frames, at least 0 and below 1; see `Smoothing`. The probabilities of all classes of a batch
        of frames then have to fit into memory.
    every : int
        Take every n-th frame only.

    Attributes
    ----------
    flicker, flicker_before : Flicker
        Of the masks, and of those before smoothing.
    failures : list of VitrailError
        Frames that could not be read.
    """

    def __init__(self, predictor: Predictor, *, smoothing: float = 0.0, every: int = 1) -> None:
        if every < 1:
            raise PredictionError(f"every must be at least 1, not {every}")
        self.predictor = predictor
        self._threshold = chosen_threshold(predictor.settings, predictor.model.num_classes)
        self.smoothing = Smoothing(smoothing, self._threshold) if smoothing else None
        self.every = every
        self.flicker = Flicker()
        self.flicker_before = Flicker()
        self.failures: list[VitrailError] = []

    def __call__(self, frames: FrameSource, rate: Fraction) -> Iterator[TimedPrediction]:
        """Yield the prediction of each frame; `rate` is that of frames that have no time of their own."""
        chosen = EveryNth(frames, self.every)
        batch_size = self.predictor.settings.batch_size
        decoded = read_ahead(self._decoded(chosen), 2 * batch_size)
        times = (Fraction(number * self.every) / rate for number in itertools.count())
        while batch := list(itertools.islice(decoded, batch_size)):
            for (frame, _), prediction in zip(batch, self._predict(batch), strict=True):
                self.flicker.add(prediction.mask)
                regular = next(times)
                time, duration = (frame.time, frame.duration) if isinstance(frame, VideoFrame) else (regular, 1 / rate)
                yield TimedPrediction(prediction, time, None if duration is None else duration * self.every)

    def _decoded(self, frames: FrameSource) -> Iterator[tuple[Frame, Tensor]]:
        for frame in frames:
            image = self._read(frame)
            if image is not None:
                yield frame, image

    def _read(self, frame: Frame) -> Tensor | None:
        try:
            return frame.pixels(self.predictor.pixel_format)
        except VitrailError as error:
            self.failures.append(error)
            return None

    def _predict(self, batch: list[tuple[Frame, Tensor]]) -> Iterator[Prediction]:
        if self.smoothing is None:
            predictions = self.predictor([Frame.of_image(image, id=frame.id) for frame, image in batch])
            for prediction in predictions:
                self.flicker_before.add(prediction.mask)
                yield prediction
            return
        probabilities = self.predictor.probabilities([image for _, image in batch])
        for (frame, image), each in zip(batch, probabilities, strict=True):
            alone = best_labels(DenseMap(each, output="probabilities"), threshold=self._threshold)
            self.flicker_before.add(alone.mask.cpu().numpy())
            yield self.predictor.to_prediction(image, self.smoothing.labels(each), frame.id)


def predict_video(
    model: Predictor | Segmentor | str | Path,
    images: Pictures,
    target: str | Path,
    *,
    alpha: float = 0.5,
    side_by_side: bool = False,
    every: int = 1,
    smoothing: float = 0.0,
    audio: bool = True,
    overwrite: bool = False,
    **options: Unpack[PredictorOptions],
) -> VideoResult:
    """Segment a video and write the overlay as a video; a few frames at a time are in memory.

    Decoding, prediction and encoding run side by side. Frames keep their times, so that a variable frame rate stays
    one, and their sound is copied.

    Parameters
    ----------
    model
        As in `predict`.
    images
        One video, stream or camera; or pictures of one size, which become a video of 25 frames per second.
    target : path
        A .mp4, .mov, .mkv or .webm.
    alpha : float
        Opacity of the colours.
    side_by_side : bool
        Show each frame beside its overlay.
    every : int
        Take every n-th frame; the video keeps its length.
    smoothing : float
        Weight of earlier frames in the mean of the probabilities, at least 0 and below 1.
    audio : bool
        Copy the sound of a video file.
    overwrite : bool
        Replace a file that exists.
    **options
        The keyword arguments of `vitrail.Predictor`; none with a predictor.

    Raises
    ------
    TruncatedVideoError
        At the end, when frames could not be read: the video has all others.
    VitrailError
        When model or video cannot be read, or the result cannot be written.
    """
    path = Path(target)
    if not is_video_name(path):
        raise PredictionError(f"cannot write a video to {path}: its name must end in {', '.join(ENCODERS)}")
    source, facts = _only_source(open_frames(images))
    _check_target(path, source)
    check_free([path], overwrite=overwrite, error=PredictionError)
    segmenter = VideoSegmenter(as_predictor(model, options), smoothing=smoothing, every=every)
    sound = source.where if audio and isinstance(source, VideoFile) and source.is_file else None
    counts = np.zeros(segmenter.predictor.model.num_classes, np.int64)
    frames = 0
    with (
        ProgressBar("predict", total=EveryNth(source, every).num_frames) as bar,
        VideoWriter(path, facts.rate / every, facts.time_base, sound) as writer,
    ):
        for timed in _written(segmenter(source, facts.rate), lambda timed: _write(writer, timed, alpha, side_by_side)):
            counts += np.bincount(timed.prediction.mask.reshape(-1), minlength=len(counts))
            classes = timed.prediction.classes
            frames += 1
            bar.advance(1)
    if not frames:
        raise PredictionError(_failure_message(segmenter.failures, None))
    shares = {name: count / counts.sum() for name, count in zip(classes, counts.tolist(), strict=True) if count}
    ordered = dict(sorted(shares.items(), key=lambda entry: -entry[1]))
    result = VideoResult(path, frames, segmenter.flicker.share, segmenter.flicker_before.share, ordered)
    if segmenter.failures:
        raise TruncatedVideoError(_failure_message(segmenter.failures, result), result)
    return result


def show_video(
    model: Predictor | Segmentor | str | Path,
    images: Pictures,
    view: LiveView,
    *,
    alpha: float = 0.5,
    every: int = 1,
    smoothing: float = 0.0,
    **options: Unpack[PredictorOptions],
) -> int:
    """Segment a video, a stream, a camera or pictures, and show the overlays with a legend of the classes' shares.

    A file is not shown faster than it would play.

    Parameters
    ----------
    model, images, alpha, every, smoothing
        As in `predict_video`.
    view : LiveView
        Where they are shown.
    **options
        The keyword arguments of `vitrail.Predictor`; none with a predictor.

    Returns
    -------
    int
        The number of frames.

    Raises
    ------
    VitrailError
        When model or video cannot be read; at the end, when frames could not be read.
    """
    source, facts = _only_source(open_frames(images))
    segmenter = VideoSegmenter(as_predictor(model, options), smoothing=smoothing, every=every)
    frames, start = 0, time.monotonic()
    with ProgressBar("predict", total=EveryNth(source, every).num_frames) as bar:
        for timed in segmenter(source, facts.rate):
            time.sleep(max(0.0, float(timed.time) - (time.monotonic() - start)))
            view.show(timed.prediction.overlay(alpha, legend=True))
            frames += 1
            bar.advance(1)
    if segmenter.failures or not frames:
        raise PredictionError(_failure_message(segmenter.failures, None))
    return frames


def _written(
    predictions: Iterator[TimedPrediction], write: Callable[[TimedPrediction], None]
) -> Iterator[TimedPrediction]:
    """Yield predictions while a thread writes them, in order and a few behind."""
    with ThreadPoolExecutor(1, thread_name_prefix="vitrail encode") as pool:
        behind: deque[Future[None]] = deque()
        for timed in predictions:
            behind.append(pool.submit(write, timed))
            if len(behind) > _BEHIND:
                behind.popleft().result()
            yield timed
        for future in behind:
            future.result()


def _write(writer: VideoWriter, timed: TimedPrediction, alpha: float, side_by_side: bool) -> None:
    picture = np.asarray(timed.prediction.overlay(alpha))
    if side_by_side:
        picture = np.concatenate([timed.prediction.image, picture], axis=1)
    writer.write(picture, timed.time, timed.duration)


def _only_source(frames: FrameSource) -> tuple[FrameSource, VideoFacts]:
    """Return the source of a video and what it says of itself."""
    while isinstance(frames, JoinedFrames) and len(frames.sources) == 1:
        frames = frames.sources[0]
    if isinstance(frames, Video):
        return frames, frames.facts()
    if isinstance(frames, JoinedFrames) and any(isinstance(source, Video) for source in frames.sources):
        raise PredictionError("one video at a time can be written to a video: give one, or a folder for pictures")
    return frames, VideoFacts(Fraction(PICTURE_RATE), Fraction(1, 1000))


def _check_target(path: Path, source: FrameSource) -> None:
    inputs = {Path(source.where).resolve()} if isinstance(source, Video) else set(input_files(source))
    if path.resolve() in inputs:
        raise PredictionError(f"the result would replace the input {path}: choose another name")


def _failure_message(failures: list[VitrailError], result: VideoResult | None) -> str:
    messages = list(dict.fromkeys(str(error) for error in failures))
    more = f"\n… and {len(messages) - 5} more" if len(messages) > 5 else ""
    written = f"; {result.path} has {result.frames} frames" if result is not None else ""
    return ("\n".join(messages[:5]) or "no frames were given") + more + written
