"""Sample predictions for loggers."""

from __future__ import annotations

import torch
from PIL import Image

from vitrail.datasets import SegmentationDataset
from vitrail.inference.predictor import Predictor
from vitrail.recipes import EvalConfig
from vitrail.segmentors import Segmentor
from vitrail.training.loggers import Picture
from vitrail.visualize import overlay
from vitrail.visualize.overlay import as_picture

COUNT = 4


def sample_pictures(
    model: Segmentor, dataset: SegmentationDataset, settings: EvalConfig, device: torch.device
) -> list[Picture]:
    """Predict a few evenly spaced images of a dataset.

    Parameters
    ----------
    model : Segmentor
        With its card.
    dataset : SegmentationDataset
        The evaluation data.
    settings : EvalConfig
        How to predict.
    device : torch.device
        The device of the model.
    """
    predictor = Predictor(model, settings, device=device)
    count = min(COUNT, len(dataset))
    indices = range(0, len(dataset), max(1, len(dataset) // count))[:count]
    return [_picture(predictor, dataset, index) for index in indices]


def _picture(predictor: Predictor, dataset: SegmentationDataset, index: int) -> Picture:
    sample = dataset[index]
    height, width = sample["size"]
    (prediction,) = predictor.segment([sample["image"]], [(height, width)])
    image = as_picture(sample["image"]).resize((width, height))
    views = Image.new("RGB", (2 * width, height))
    for place, mask in enumerate((prediction, sample["mask"])):
        views.paste(overlay(image, mask, dataset.benchmark.palette), (place * width, 0))
    return Picture(sample["id"], views)
