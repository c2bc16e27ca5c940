"""The predictor: a model that is ready to segment one image, a folder, or a stream that never ends."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict, TypeVar

import torch
from torch import Tensor
from torchvision import tv_tensors

from vitrail.checkpoints import load
from vitrail.checkpoints.exported import ExportedSegmentor, computing_device
from vitrail.datasets.pixel_format import PixelFormat
from vitrail.errors import DeviceError, ModelError, PredictionError, VitrailError
from vitrail.inference.defaults import (
    find_flip_pairs,
    find_normalisation,
    find_precision,
    find_recipe,
    find_resize,
    find_settings,
)
from vitrail.inference.georeference import GeoTags
from vitrail.inference.index_segmenter import IndexSegmenter
from vitrail.inference.large_images import in_windows, window_side
from vitrail.inference.network import Compile, Network, create_forward
from vitrail.inference.prediction import Prediction
from vitrail.inference.score_map import Labels
from vitrail.inference.segmenter import Segmenter, Size
from vitrail.inference.sources import Frame, FrameSource, Picture, Pictures, is_single, open_frames
from vitrail.precision import Precision
from vitrail.recipes import EvalConfig, Recipe, ResizeConfig
from vitrail.runtime.device import autocast, pick_device
from vitrail.segmentors import ModelCard, Segmentor
from vitrail.visualize import as_rgb

MAX_WHOLE_PIXELS = 4096 * 3072  # a camera's 12 megapixels; larger images go through the model in windows

OnError = Callable[[str, VitrailError], None]
Result = TypeVar("Result")
_Compute: TypeAlias = "Callable[[Segmenter | IndexSegmenter, list[Tensor], list[Size]], list[Result]]"


class PredictorOptions(TypedDict, total=False):
    """The keyword arguments of `Predictor`, for functions that pass them on."""

    settings: EvalConfig | None
    recipe: Recipe | str | Path | None
    overrides: Sequence[str]
    device: str | torch.device | None
    amp: Precision | None
    channels_last: bool
    compile: Compile
    batch_size: int | None
    scores: bool
    whole_pixels: int
    resize: ResizeConfig | Literal["recipe"] | None
    flip_pairs: Sequence[tuple[int, int]] | None
    mean: Sequence[float] | None
    std: Sequence[float] | None
    trust_imports: bool


class Predictor:
    """A model that is ready to segment images: built once, then used for any number of them.

    `predictor.predict(image)` segments one image. `predictor(images)` is an iterator over the predictions of any
    number of images: files, folders, patterns, pixels, or any iterable of them, also one that never ends. Images are
    read when their turn comes, at most `batch_size` at a time, and predictions come in the order of the images.

    A predictor can be used from several threads, as a server does: reading and drawing run side by side, the passes
    through the model take turns. Do not train or change the model while a predictor uses it.

    Parameters
    ----------
    model : Segmentor, str or Path
        A model, or what `vitrail.load` takes: a name, a file, an address. It is moved to the device; while it predicts
        it is in evaluation mode, afterwards in the mode it had before.
    settings : EvalConfig, optional
        Whole images or windows, scales, flip, averaging; None takes the evaluation section of the recipe.
    recipe : Recipe, str or Path, optional
        Where settings, test-time resize, flip pairs and normalisation come from, as far as they are not given; None
        takes the recipe that the model was trained with, and the defaults for a model that has none.
    overrides : sequence of str
        Changes to the recipe, such as "evaluation.flip=true".
    device : str or torch.device, optional
        None takes the best there is.
    amp : {"none", "bfloat16", "float16"}, optional
        Precision of the model; None takes `settings.amp`.
    channels_last : bool
        Whether images go through the model in the channels_last memory format, which is faster for convolutions.
    compile : {"none", "graphs", "inductor"}
        How the forward pass is made faster for images whose shapes repeat, such as the frames of a video; see
        `vitrail.inference.network.create_forward`. The predictor then works with a copy of the model.
    batch_size : int, optional
        Images of equal size, or windows, that go through the model together; None takes `settings.batch_size`.
    scores : bool
        Whether predictions carry the probability of each pixel's class.
    whole_pixels : int
        In predictions, images with more pixels than this, after the test-time resize, go through the model in windows
        that overlap by a quarter, even when the settings say "whole". They are 2048 × 2048, or smaller where the
        scores of all classes in one row of windows would take more than 10 GB. Memory then grows with the image
        itself, its mask and that row alone.
    resize : ResizeConfig, "recipe" or None
        The test-time resize of predictions: "recipe" takes the recipe's, None keeps the size of the image.
    flip_pairs : sequence of (int, int), optional
        Classes that are exchanged when an image is flipped; None takes those of the recipe's dataset.
    mean, std : sequence of float, optional
        Normalisation of images in 0…255; None takes the model card's, or the recipe's for a model without a card.
    trust_imports : bool
        Let a model file import the modules that it names; see `vitrail.load`.

    Attributes
    ----------
    model, settings, device, amp
        As given, or as found.
    pixel_format : PixelFormat
        What the model expects of an image.

    Raises
    ------
    VitrailError
        When model or recipe cannot be found or read, when the device does not have the precision, or when nothing says
        how images are normalised.

    Examples
    --------
    >>> predictor = Predictor("fastscnn_camvid", device="cpu")
    >>> predictor.predict("street.jpg").save("street_overlay.png")
    >>> for prediction in predictor("photos/"):
    ...     print(prediction.id, prediction.areas()[0].name)
    """

    def __init__(
        self,
        model: Segmentor | str | Path,
        settings: EvalConfig | None = None,
        *,
        recipe: Recipe | str | Path | None = None,
        overrides: Sequence[str] = (),
        device: str | torch.device | None = None,
        amp: Precision | None = None,
        channels_last: bool = True,
        compile: Compile = "none",
        batch_size: int | None = None,
        scores: bool = False,
        whole_pixels: int = MAX_WHOLE_PIXELS,
        resize: ResizeConfig | Literal["recipe"] | None = "recipe",
        flip_pairs: Sequence[tuple[int, int]] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        trust_imports: bool = False,
    ) -> None:
        self.device = pick_device(device)
        if not isinstance(model, Segmentor):
            model = load(model, trust_imports=trust_imports)
        self.device = computing_device(model, self.device, explicit=device is not None)
        self.model = model.to(self.device)
        left_to_recipe = settings is None or resize == "recipe" or flip_pairs is None
        wanted = left_to_recipe or recipe is not None or bool(overrides)
        chosen = find_recipe(recipe, overrides, self.model.card) if wanted else None
        self.settings = find_settings(settings, chosen, overrides, batch_size)
        self.amp: Precision = find_precision(self.model, amp, self.settings)
        self.with_scores = scores
        self.whole_pixels = whole_pixels
        self._resize = find_resize(resize, chosen)
        autocast(self.device, self.amp)  # raises now what it would raise at the first image
        normalize = find_normalisation(mean, std, self.model.card, chosen).to(self.device)
        self.pixel_format = PixelFormat(normalize.mean.shape[0], chosen.data.value_range if chosen else None)
        pairs = find_flip_pairs(flip_pairs, chosen)
        network = Network(self.model, self.device, normalize, self.amp, channels_last)
        self._segmenter = _create_segmenter(network, compile, self.settings, pairs, self.pixel_format.channels)
        if scores and isinstance(self._segmenter, IndexSegmenter):
            self._segmenter.check_scores()
        self._lock = threading.Lock()

    def __call__(self, images: Pictures, *, on_error: OnError | None = None) -> Iterator[Prediction]:
        """Return an iterator over the predictions of images, one for each, in order.

        Parameters
        ----------
        images
            What `vitrail.inference.sources.open_frames` takes: files, folders, patterns and whatever else a frame
            source opens, pixels in memory, or any iterable of them.
        on_error : callable, optional
            Called with the name and the error of an image that cannot be read, which is then left out. None raises the
            error.

        Raises
        ------
        PredictionError
            When there is no image where one should be.
        ModelError
            When the model has no card, so that its classes are unknown.
        """
        return self._predictions(open_frames(images), _checked_card(self.model), on_error)

    def predict(self, image: Picture) -> Prediction:
        """Return the prediction of one image: a file, a PIL image, an array [H, W, 3] or a tensor [3, H, W].

        Raises
        ------
        PredictionError
            When `image` is a folder, a pattern or a batch: `predictor(images)` takes those.
        VitrailError
            When the image cannot be read.
        """
        if not is_single(image):
            raise PredictionError("predict takes one image; for several, iterate over predictor(images)")
        (prediction,) = self([image])
        return prediction

    @property
    def resizes(self) -> bool:
        """Whether images are resized before they go through the model."""
        return self._resize.size is not None

    def segment(
        self,
        images: Sequence[Tensor],
        sizes: Sequence[Size] | None = None,
        *,
        settings: EvalConfig | None = None,
    ) -> list[Tensor]:
        """Return the class indices of image tensors, with neither test-time resize nor windows for large images.

        Parameters
        ----------
        images : sequence of Tensor [3, h, w]
            RGB, uint8, on any device; images of equal size go through the model together.
        sizes : sequence of (int, int), optional
            Height and width of each result; None keeps those of the images.
        settings : EvalConfig, optional
            Other windows, scales and flips than the predictor's.

        Returns
        -------
        list of Tensor [H, W]
            On the device: uint8 for up to 255 classes, int16 or int32 for more.

        Raises
        ------
        PredictionError
            When an image is not uint8 [3, h, w], or a whole image does not fit into the memory of the device.
        """
        segmenter = self._segmenter if settings is None else dataclasses.replace(self._segmenter, settings=settings)
        with self._lock:
            return [labels.mask for labels in segmenter.labels(images, sizes, with_scores=False)]

    def segment_with_scores(self, images: Sequence[Tensor], sizes: Sequence[Size] | None = None) -> list[Labels]:
        """Return the class indices of images as `segment` does, each with the probability of that class, [H, W]."""
        with self._lock:
            return self._segmenter.labels(images, sizes, with_scores=True)

    def scores(self, images: Sequence[Tensor], sizes: Sequence[Size] | None = None) -> list[Tensor]:
        """Return the scores of all classes, [K, H, W] for each image; for images for which these fit into memory.

        They are what the head declares as its output (logits, for most methods), or probabilities where several views
        or windows were averaged as probabilities. Arguments as in `segment`.
        """
        with self._lock:
            return self._segmenter.scores(images, sizes)

    def probabilities(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Return the probabilities of all classes, with the test-time resize and the windows of `predict`.

        Parameters
        ----------
        images : sequence of Tensor [C, H, W]
            uint8, as `pixel_format` says.

        Returns
        -------
        list of Tensor [K, H, W]
            float32 on the device, at the size of the images: for images for which these fit into memory.
        """
        return self._by_window(images, lambda segmenter, chosen, sizes: segmenter.probabilities(chosen, sizes))

    def to_prediction(self, image: Tensor, labels: Labels, id: str = "") -> Prediction:
        """Return the prediction for an image, uint8 [C, H, W], that labels at its size were computed for.

        Raises
        ------
        ModelError
            When the model has no card, so that its classes are unknown.
        """
        return _prediction(image, labels, id, _checked_card(self.model))

    def _predictions(self, frames: FrameSource, card: ModelCard, on_error: OnError | None) -> Iterator[Prediction]:
        for batch in _read_batches(frames, self.pixel_format, self.settings.batch_size, on_error):
            labels = self._labels([image for _, image in batch])
            for (frame, image), found in zip(batch, labels, strict=True):
                georeference = frame.georeference() if frame.georeference else None
                yield _prediction(image, found, frame.id, card, georeference)

    def _labels(self, images: Sequence[Tensor]) -> list[Labels]:
        """Return the labels of images [C, H, W] at their own sizes; large images go through the model in windows."""
        return self._by_window(
            images, lambda segmenter, chosen, sizes: segmenter.labels(chosen, sizes, with_scores=self.with_scores)
        )

    def _by_window(self, images: Sequence[Tensor], compute: _Compute[Result]) -> list[Result]:
        """Return what `compute` makes of images after the test-time resize, those with equal windows at a time."""
        inputs = [self._resize({"image": tv_tensors.Image(image)})["image"].as_subclass(Tensor) for image in images]
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        by_side: dict[int, list[int]] = {}  # side of the windows, 0 for none, to the indices of the images
        for index, image in enumerate(inputs):
            side = window_side(image, self.settings, self.model.num_classes, self.whole_pixels)
            by_side.setdefault(side, []).append(index)
        result: dict[int, Result] = {}
        for side, chosen in by_side.items():
            segmenter = self._segmenter
            if side:
                segmenter = dataclasses.replace(segmenter, settings=in_windows(self.settings, side))
            with self._lock:
                computed = compute(segmenter, [inputs[index] for index in chosen], [sizes[index] for index in chosen])
            result.update(zip(chosen, computed, strict=True))
        return [result[index] for index in range(len(images))]


def _prediction(
    image: Tensor, labels: Labels, id: str, card: ModelCard, georeference: GeoTags | None = None
) -> Prediction:
    return Prediction(
        mask=labels.mask.cpu().numpy(),
        classes=card.classes,
        palette=card.palette,
        image=as_rgb(image.cpu()).permute(1, 2, 0).numpy(),
        id=id,
        scores=None if labels.scores is None else labels.scores.cpu().numpy(),
        georeference=georeference,
    )


def _create_segmenter(
    network: Network, compile: Compile, settings: EvalConfig, flip_pairs: Sequence[tuple[int, int]], channels: int
) -> Segmenter | IndexSegmenter:
    model = network.model
    if not isinstance(model, ExportedSegmentor):
        forward = create_forward(network, compile)
        return Segmenter(model, settings, network.device, forward, flip_pairs=flip_pairs, channels=channels)
    if compile != "none":
        raise DeviceError(f"{model.path} is an exported model, which cannot be compiled: leave out compile={compile}")
    if model.returns != "raw":
        return IndexSegmenter(model, settings, channels)
    # The file normalises images itself, so its forward pass takes the place of the network's.
    return Segmenter(model, settings, network.device, model, flip_pairs=flip_pairs, channels=channels)


def as_predictor(model: Predictor | Segmentor | str | Path, options: PredictorOptions) -> Predictor:
    """Return `model` if it is a predictor, or a new predictor of it.

    Raises
    ------
    PredictionError
        When options are given with a predictor, which has its own.
    """
    if not isinstance(model, Predictor):
        return Predictor(model, **options)
    if options:
        raise PredictionError(
            f"{', '.join(options)} cannot be changed on a predictor that is built: build it with them, "
            f"Predictor(model, {next(iter(options))}=…)"
        )
    return model


def _read_batches(
    frames: FrameSource, pixels: PixelFormat, batch_size: int, on_error: OnError | None
) -> Iterator[list[tuple[Frame, Tensor]]]:
    batch: list[tuple[Frame, Tensor]] = []
    for frame in frames:
        try:
            batch.append((frame, frame.pixels(pixels)))
        except VitrailError as error:
            if on_error is None:
                raise
            on_error(frame.id, error)
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _checked_card(model: Segmentor) -> ModelCard:
    if model.card is None:
        raise ModelError("the model has no card, so its classes are unknown: set model.card to a vitrail.ModelCard")
    if len(model.card.classes) != model.num_classes:
        raise ModelError(
            f"the model has {model.num_classes} classes, but its card names {len(model.card.classes)}: they must agree"
        )
    return model.card
