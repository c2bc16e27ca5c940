"""Answers of the service: masks, probabilities, run lengths and polygons of a prediction."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from vitrail.errors import PredictionError
from vitrail.inference import Prediction

MAX_SIDES = 1_000_000  # sides of pixels along outlines; tracing them takes seconds


@dataclass(frozen=True)
class Answer:
    """The body of an answer, and its content type."""

    content: bytes
    media_type: str


def build_answer(prediction: Prediction, outputs: Sequence[str], model: str) -> Answer:
    """Return the answer with the requested outputs.

    Parameters
    ----------
    prediction : Prediction
        With scores where probabilities are requested.
    outputs : sequence of str
        Names in `PICTURES` or `DATA`. A single picture is answered as it is; all else as JSON, with pictures in base64.
    model : str
        The model's name.

    Raises
    ------
    PredictionError
        When polygons are requested of a mask that has too many.
    """
    if len(outputs) == 1 and outputs[0] in PICTURES:
        return Answer(PICTURES[outputs[0]](prediction), "image/png")
    content: dict[str, Any] = {"model": model, **prediction.to_dict()}
    del content["id"]
    for output in outputs:
        if output in PICTURES:
            content[output] = base64.b64encode(PICTURES[output](prediction)).decode()
        else:
            content[output] = DATA[output](prediction)
    return Answer(json.dumps(content, separators=(",", ":")).encode(), "application/json")


def _mask(prediction: Prediction) -> bytes:
    """Return the class indices as a PNG, with the classes' colours as its palette."""
    return _png(prediction.index())


def _probabilities(prediction: Prediction) -> bytes:
    """Return the probability of each pixel's class as a grey PNG of 16 bits, 65535 for 1."""
    if prediction.scores is None:
        raise PredictionError("the prediction has no probabilities")
    return _png(Image.fromarray(np.rint(prediction.scores * 65535).astype(np.uint16)))


def _overlay(prediction: Prediction) -> bytes:
    """Return the picture under the colours of its classes."""
    return _png(prediction.overlay())


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)  # masks are small at any level
    return file.getvalue()


def _run_lengths(prediction: Prediction) -> list[dict[str, Any]]:
    """Return one COCO annotation for each class, without the identity of an image."""
    annotations = prediction.to_coco()
    for annotation in annotations:
        del annotation["image_id"]
    return annotations


def _polygons(prediction: Prediction) -> list[dict[str, Any]]:
    mask = prediction.mask
    sides = int((mask[:, 1:] != mask[:, :-1]).sum()) + int((mask[1:] != mask[:-1]).sum())
    if sides > MAX_SIDES:
        raise PredictionError("the mask has too many small regions for polygons: ask for rle")
    return [
        {
            "category_id": polygon.index,
            "category": prediction.classes[polygon.index],
            "exterior": polygon.exterior,
            "holes": polygon.holes,
        }
        for polygon in prediction.to_polygons()
    ]


PICTURES: Mapping[str, Callable[[Prediction], bytes]] = {
    "mask": _mask,
    "probabilities": _probabilities,
    "overlay": _overlay,
}
DATA: Mapping[str, Callable[[Prediction], Any]] = {"rle": _run_lengths, "polygons": _polygons}
OUTPUTS = (*PICTURES, *DATA)
