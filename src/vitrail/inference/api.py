"""Segmenting images: the front door to a trained model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torchvision import tv_tensors

from vitrail.checkpoints import load
from vitrail.datasets import benchmarks
from vitrail.errors import DatasetError, ModelError
from vitrail.inference.prediction import Prediction
from vitrail.inference.predictor import Predictor
from vitrail.inference.resolve import resolve_recipe
from vitrail.inference.score_map import Labels
from vitrail.inference.sources.images import ImageSource, Picture, find_images, is_single
from vitrail.recipes import EvalConfig, Recipe
from vitrail.runtime.device import Precision, pick_device
from vitrail.segmentors import ModelCard, Segmentor
from vitrail.transforms import EvalTransform

WHOLE_PIXELS = 4096 * 3072  # a camera's 12 megapixels; larger images go through the model in windows
WINDOW_SIDES = (2048, 1024, 512, 256)
WINDOW_SCORES = 10 << 30  # bytes that the scores of the windows under one row may take, of a machine's 24 GB


def predict(
    model: Segmentor | str | Path,
    images: Picture | Sequence[Picture],
    *,
    recipe: Recipe | str | Path | None = None,
    overrides: Sequence[str] = (),
    settings: EvalConfig | None = None,
    device: str | torch.device | None = None,
    amp: Precision = "none",
    scores: bool = False,
    whole_pixels: int = WHOLE_PIXELS,
) -> Prediction | list[Prediction]:
    """Segment images.

    Parameters
    ----------
    model : Segmentor, str or Path
        A model, or what `vitrail.load` takes: a name, a file, an address.
    images : path, PIL image, ndarray, Tensor, or a sequence of them
        Files, folders (with the folders below them), patterns such as "photos/*.jpg"; pixels as uint8 RGB, [H, W, 3]
        in arrays and [3, H, W] in tensors.
    recipe : Recipe, str or Path, optional
        How to predict; None takes the recipe that the model was trained with.
    overrides : sequence of str
        Changes to the recipe, such as "evaluation.flip=true".
    settings : EvalConfig, optional
        Instead of the recipe's evaluation section.
    device : str or torch.device, optional
        None takes the best there is.
    amp : {"none", "bfloat16", "float16"}
        Precision of the model.
    scores : bool
        Return the probability of each pixel's class too.
    whole_pixels : int
        Images with more pixels than this, after the recipe's test-time resize, go through the model in windows that
        overlap by a quarter, even when the recipe says "whole". They are 2048 × 2048, or smaller where the scores of
        all classes in one row of windows would take more than 10 GB. Memory then grows with the image itself, its
        mask and that row alone.

    Returns
    -------
    Prediction or list of Prediction
        One for a single image; a list for a folder, a pattern, a sequence or a batch. Masks have the size of the
        images as they came.

    Raises
    ------
    VitrailError
        When model, recipe or images cannot be found or read.

    See Also
    --------
    iterate_predictions : the same, one after the other, for more images than fit into memory.

    Examples
    --------
    >>> prediction = predict("runs/fcn/best.safetensors", "street.jpg")
    >>> prediction.overlay().show()
    """
    found = iterate_predictions(
        model,
        images,
        recipe=recipe,
        overrides=overrides,
        settings=settings,
        device=device,
        amp=amp,
        scores=scores,
        whole_pixels=whole_pixels,
    )
    return next(found) if is_single(images) else list(found)


def iterate_predictions(
    model: Segmentor | str | Path,
    images: Picture | Sequence[Picture | ImageSource],
    *,
    recipe: Recipe | str | Path | None = None,
    overrides: Sequence[str] = (),
    settings: EvalConfig | None = None,
    device: str | torch.device | None = None,
    amp: Precision = "none",
    scores: bool = False,
    whole_pixels: int = WHOLE_PIXELS,
    on_error: Callable[[str, DatasetError], None] | None = None,
) -> Iterator[Prediction]:
    """Yield the predictions that `predict` returns, each image read when its turn comes.

    Parameters
    ----------
    model, images, recipe, overrides, settings, device, amp, scores, whole_pixels
        As in `predict`.
    on_error : callable, optional
        Called with the name and the error of an image that cannot be read, which is then left out. None raises the
        error.
    """
    target = pick_device(device)
    if not isinstance(model, Segmentor):
        model = load(model, device=target)
    card = _card(model)
    chosen = _recipe(recipe, overrides, card)
    settings = settings or (chosen.evaluation if chosen else EvalConfig())
    pairs = _flip_pairs(chosen)
    segmenter = _Segmenter(
        predictor=functools.partial(Predictor, model, device=target, amp=amp, flip_pairs=pairs),
        settings=settings,
        num_classes=model.num_classes,
        transform=_transform(chosen),
        scores=scores,
        whole_pixels=whole_pixels,
    )
    return _predictions(find_images(images), segmenter, card, settings.batch_size, on_error)


@dataclass(frozen=True)
class _Segmenter:
    """Chooses for each image between one piece and windows."""

    predictor: Callable[[EvalConfig], Predictor]
    settings: EvalConfig
    num_classes: int
    transform: EvalTransform
    scores: bool
    whole_pixels: int

    def __call__(self, images: Sequence[Tensor]) -> list[Labels]:
        """Return the labels of images [3, H, W] at their own sizes."""
        inputs = [self.transform({"image": tv_tensors.Image(image)})["image"].as_subclass(Tensor) for image in images]
        groups: dict[int, list[int]] = {}  # side of the windows, 0 for none, to the images' indices
        for index, image in enumerate(inputs):
            groups.setdefault(self._window_side(image), []).append(index)
        result: dict[int, Labels] = {}
        for side, chosen in groups.items():
            predictor = self.predictor(_in_windows(self.settings, side) if side else self.settings)
            sizes = [(images[index].shape[1], images[index].shape[2]) for index in chosen]
            result.update(zip(chosen, self._labels(predictor, [inputs[index] for index in chosen], sizes), strict=True))
        return [result[index] for index in range(len(images))]

    def _window_side(self, image: Tensor) -> int:
        """Return the side of the windows that an image needs, or 0 when it goes through the model as it is."""
        height, width = (side * max(self.settings.scales) for side in image.shape[1:])
        if self.settings.mode == "slide" or height * width <= self.whole_pixels:
            return 0
        bytes_per_row = 4 * self.num_classes * width
        fitting = [side for side in WINDOW_SIDES if (side + _step(side)) * bytes_per_row <= WINDOW_SCORES]
        return fitting[0] if fitting else WINDOW_SIDES[-1]

    def _labels(self, predictor: Predictor, images: list[Tensor], sizes: list[tuple[int, int]]) -> list[Labels]:
        if self.scores:
            return predictor.segment_with_scores(images, sizes)
        return [Labels(mask, None) for mask in predictor.segment(images, sizes)]


def _predictions(
    sources: Sequence[ImageSource],
    segment: _Segmenter,
    card: ModelCard,
    batch_size: int,
    on_error: Callable[[str, DatasetError], None] | None,
) -> Iterator[Prediction]:
    for start in range(0, len(sources), batch_size):
        read = [(source, _read(source, on_error)) for source in sources[start : start + batch_size]]
        batch = [(source, image) for source, image in read if image is not None]
        masks = segment([image for _, image in batch])
        for (source, image), labels in zip(batch, masks, strict=True):
            yield Prediction(
                mask=labels.mask.cpu().numpy(),
                classes=card.classes,
                palette=card.palette,
                image=image.cpu().permute(1, 2, 0).numpy(),
                id=source.id,
                scores=None if labels.scores is None else labels.scores.cpu().numpy(),
            )


def _read(source: ImageSource, on_error: Callable[[str, DatasetError], None] | None) -> Tensor | None:
    try:
        return source.read()
    except DatasetError as error:
        if on_error is None:
            raise
        on_error(source.id, error)
        return None


def _card(model: Segmentor) -> ModelCard:
    if model.card is None:
        raise ModelError("the model has no card, so its classes are unknown: set model.card to a vitrail.ModelCard")
    if len(model.card.classes) != model.num_classes:
        raise ModelError(
            f"the model has {model.num_classes} classes, but its card names {len(model.card.classes)}: they must agree"
        )
    return model.card


def _recipe(recipe: Recipe | str | Path | None, overrides: Sequence[str], card: ModelCard) -> Recipe | None:
    """Return the recipe to go by; None when none is given and the card's says nothing but how the model is built."""
    if recipe is None and not overrides and "data" not in card.recipe:
        return None
    return resolve_recipe(recipe, overrides, card=card)


def _transform(recipe: Recipe | None) -> EvalTransform:
    resize = recipe.data.eval_resize if recipe else None
    return EvalTransform(size=None, keep_ratio=True) if resize is None else EvalTransform(**resize.model_dump())


def _flip_pairs(recipe: Recipe | None) -> tuple[tuple[int, int], ...]:
    benchmark = benchmarks().get(recipe.data.dataset) if recipe is not None else None
    return benchmark.flip_pairs if benchmark is not None else ()


def _step(side: int) -> int:
    return side * 3 // 4


def _in_windows(settings: EvalConfig, side: int) -> EvalConfig:
    step = _step(side)
    return settings.model_copy(
        update={"mode": "slide", "window": (side, side), "stride": (step, step), "batch_size": 1}
    )
