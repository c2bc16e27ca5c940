"""`vitrail.predict`: segment images in one call."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import Unpack

from vitrail.inference.prediction import Prediction
from vitrail.inference.predictor import Predictor, PredictorOptions, as_predictor
from vitrail.inference.sources import Pictures, is_single
from vitrail.segmentors import Segmentor


def predict(
    model: Predictor | Segmentor | str | Path, images: Pictures, **options: Unpack[PredictorOptions]
) -> Prediction | list[Prediction]:
    """Segment images.

    Parameters
    ----------
    model : Predictor, Segmentor, str or Path
        A predictor, a model, or what `vitrail.load` takes: a name, a file, an address. For many calls with one model,
        build a `vitrail.Predictor` once.
    images : path, PIL image, ndarray, Tensor, or an iterable of them
        Files, folders (with the folders below them), patterns such as "photos/*.jpg"; pixels as uint8 RGB, [H, W, 3]
        in arrays and [3, H, W] in tensors.
    **options
        The keyword arguments of `vitrail.Predictor`, such as `scores=True`; none with a predictor.

    Returns
    -------
    Prediction or list of Prediction
        One for a single image; a list for a folder, a pattern, an iterable or a batch. Masks have the size of the
        images as they came.

    Raises
    ------
    VitrailError
        When model, recipe or images cannot be found or read.

    Examples
    --------
    >>> prediction = predict("runs/fcn/best.safetensors", "street.jpg")
    >>> prediction.overlay().show()
    """
    found = as_predictor(model, options)(images)
    return next(found) if is_single(images) else list(found)
