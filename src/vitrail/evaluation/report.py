"""Files of an evaluation: predictions as PNG, and an HTML page with the images of lowest mean IoU."""

from __future__ import annotations

import contextlib
import heapq
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vitrail.datasets import SegmentationDataset
from vitrail.errors import VitrailError
from vitrail.evaluation.report_page import Card, page
from vitrail.evaluation.result import Evaluation, ImageResult, ImageScore
from vitrail.files.atomic import atomic_path
from vitrail.files.outputs import check_free
from vitrail.files.pictures import save_picture
from vitrail.labels import IGNORE, ignore_index_of
from vitrail.runtime.distributed import gather_objects, on_main
from vitrail.visualize import index_mask, overlay

Palette = Sequence[tuple[int, int, int]]

PANEL_SIDE = 720  # pixels of the longer side of a picture in the report
_WRONG = (230, 38, 60)
_CONFUSIONS = 3
_REPORT = ("index.html", "summary.json")


class SavePredictions:
    """Writes each prediction as a PNG whose pixel values are class indices and whose palette shows the classes.

    Parameters
    ----------
    folder : Path
        Files are named by image id; an id with slashes keeps its folders.
    palette : sequence of (int, int, int)
        One RGB colour per class.

    Raises
    ------
    VitrailError
        When the folder or a file cannot be written.
    """

    def __init__(self, folder: Path, palette: Palette) -> None:
        self.folder = folder
        self.palette = palette
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, result: ImageResult) -> None:
        """Write the prediction of one image."""
        path = self.folder / f"{result.id}.png"
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise VitrailError(f"image id {result.id!r} leads out of the folder {self.folder}")
        with writing(path):
            save_picture(index_mask(result.prediction, self.palette), path)


def check_not_in_data(paths: Iterable[Path], dataset: SegmentationDataset) -> None:
    """Refuse paths of predictions one of which would replace an image or a mask of the dataset.

    Raises
    ------
    VitrailError
        The message names the file.
    """
    files, pairs = getattr(dataset.source, "files", None), getattr(dataset.source, "pairs", ())
    if files is None:
        return
    own = {Path(files.locate(name)).resolve() for pair in pairs for name in (pair.image, pair.mask) if name}
    for path in paths:
        if path.resolve() in own:
            raise VitrailError(
                f"a prediction would replace {path.resolve()}, a file of the dataset: choose another folder"
            )


def check_outputs(
    predictions: Path | None,
    report: Path | None,
    dataset: SegmentationDataset,
    ids: Sequence[str],
    *,
    overwrite: bool,
) -> None:
    """Check, before anything is computed, that the files of an evaluation replace nothing that shall stay.

    Parameters
    ----------
    predictions, report : Path or None
        The folders.
    dataset : SegmentationDataset
        Its images and masks are never replaced.
    ids : sequence of str
        The images that are predicted.
    overwrite : bool
        Whether predictions and a report that are there may be replaced.

    Raises
    ------
    VitrailError
        The message names the file.
    """
    if predictions is not None:
        masks = [predictions / f"{id}.png" for id in ids]
        check_not_in_data(masks, dataset)
        check_free(masks, overwrite=overwrite, error=VitrailError)
    if report is not None:
        check_free((report / name for name in _REPORT), overwrite=overwrite, error=VitrailError)


@dataclass(frozen=True, eq=False)
class Shown:
    """One image of the report, at the size in which it is shown."""

    image: Tensor  # uint8 [3, h, w]
    mask: Tensor  # uint8 or int16 [h, w]
    prediction: Tensor  # uint8 [h, w]
    size: tuple[int, int]
    confusion: Tensor  # int64 [K, K]
    score: ImageScore


class WorstImages:
    """Collects the images with the lowest mean IoU and writes an HTML page with them.

    Memory holds only reduced copies of the `count` worst images so far.

    Parameters
    ----------
    folder : Path
        Gets `index.html`, `summary.json` and the pictures.
    palette : sequence of (int, int, int)
        One RGB colour per class.
    count : int
        Number of images to show.

    Raises
    ------
    VitrailError
        When `count` is not positive, or the folder cannot be written.
    """

    def __init__(self, folder: Path, palette: Palette, *, count: int) -> None:
        if count < 1:
            raise VitrailError(f"a report of the {count} worst images: worst must be at least 1")
        self.folder = folder
        self.palette = palette
        self.count = count
        self._kept: list[tuple[float, str, Shown]] = []  # a heap: the best of the worst comes first
        with writing(folder):
            (folder / "images").mkdir(parents=True, exist_ok=True)

    def __call__(self, result: ImageResult) -> None:
        """Keep an image that is among the worst so far."""
        if math.isnan(result.score.miou):
            return
        rank = (-result.score.miou, result.id)
        if len(self._kept) < self.count:
            heapq.heappush(self._kept, (*rank, _shown(result)))
        elif rank > self._kept[0][:2]:
            heapq.heapreplace(self._kept, (*rank, _shown(result)))

    def write(self, evaluation: Evaluation, *, title: str) -> None:
        """Write the report; every process writes the pictures of its own images, rank 0 writes the page.

        Parameters
        ----------
        evaluation : Evaluation
            The evaluation of all images.
        title : str
            Title of the page.
        """
        all_keys = [key for share in gather_objects([kept[:2] for kept in self._kept]) for key in share]
        chosen = {key[1]: place for place, key in enumerate(sorted(all_keys, reverse=True)[: self.count], start=1)}
        cards = [
            self._write_pictures(shown, chosen[image_id], evaluation.classes)
            for _, image_id, shown in self._kept
            if image_id in chosen
        ]
        all_cards = [card for share in gather_objects(cards) for card in share]
        on_main(lambda: self._write_page(evaluation, sorted(all_cards, key=lambda card: card.place), title))

    def _write_pictures(self, shown: Shown, place: int, classes: Sequence[str]) -> Card:
        pictures = {
            "image": overlay(shown.image, torch.full_like(shown.mask, ignore_index_of(shown.mask)), self.palette),
            "truth": overlay(shown.image, shown.mask, self.palette, 0.6),
            "prediction": overlay(shown.image, shown.prediction, self.palette, 0.6),
            "errors": _errors(shown),
        }
        files = {name: f"images/{place:03d}-{name}.jpg" for name in pictures}
        for name, picture in pictures.items():
            with writing(self.folder / files[name]):
                save_picture(picture, self.folder / files[name], quality=90)
        return Card(place, shown.score, shown.size, files, confusions(shown.confusion, classes))

    def _write_page(self, evaluation: Evaluation, cards: Sequence[Card], title: str) -> None:
        summary = {"title": title, **evaluation.to_dict(images=True), "worst": [card.score.id for card in cards]}
        with writing(self.folder):
            for name, text in zip(
                _REPORT, (page(evaluation, cards, title), json.dumps(summary, indent=1)), strict=True
            ):
                with atomic_path(self.folder / name) as temporary:
                    temporary.write_text(text, encoding="utf-8")


def confusions(confusion: Tensor, classes: Sequence[str]) -> list[tuple[str, str, float]]:
    """Return the most frequent confusions: true class, predicted class, and the share of all pixels."""
    wrong = confusion.double().cpu()
    total = wrong.sum()
    wrong = wrong - torch.diag(wrong.diagonal())
    shares, places = (wrong / total).flatten().topk(min(_CONFUSIONS, wrong.numel()))
    names = [divmod(place, len(classes)) for place in places.tolist()]
    return [
        (classes[true], classes[guess], share)
        for (true, guess), share in zip(names, shares.tolist(), strict=True)
        if share > 0
    ]


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the file system into a VitrailError that names the path."""
    try:
        yield
    except OSError as error:
        raise VitrailError(f"cannot write {path}: {error.strerror or error}") from error


def _shown(result: ImageResult) -> Shown:
    height, width = result.mask.shape
    scale = min(1.0, PANEL_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    image = F.interpolate(result.image[None].float(), size=size, mode="bilinear", antialias=True)[0]
    return Shown(
        image=image.round().clamp(0, 255).to(torch.uint8).cpu(),
        mask=_reduced(result.mask, size),
        prediction=_reduced(result.prediction, size),
        size=(height, width),
        confusion=result.confusion.cpu(),
        score=result.score,
    )


def _reduced(mask: Tensor, size: tuple[int, int]) -> Tensor:
    small = F.interpolate(mask[None, None].float(), size=size, mode="nearest-exact")
    return small[0, 0].to(mask.dtype).cpu()


def _errors(shown: Shown) -> Image.Image:
    """Show the image in grey, wrong pixels in red, ignored ones dark."""
    labelled = shown.mask != ignore_index_of(shown.mask)
    grey = shown.image.float().mean(dim=0)
    grey = torch.where(labelled, 0.75 * grey + 50, 0.3 * grey).to(torch.uint8)
    wrong = torch.where(labelled & (shown.mask != shown.prediction), 0, IGNORE).to(torch.uint8)
    return overlay(np.stack([grey.numpy()] * 3, axis=-1), wrong, [_WRONG], 0.7)
