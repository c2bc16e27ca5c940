"""Evaluate a model on a dataset."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrail.checkpoints import load
from vitrail.checkpoints.exported import computing_device
from vitrail.checkpoints.imports import imports_of
from vitrail.datasets import Benchmark, SegmentationDataset
from vitrail.errors import DatasetError, VitrailError
from vitrail.evaluation.boundary import BoundaryCounts
from vitrail.evaluation.calibration import CalibrationCounts
from vitrail.evaluation.confusion import ConfusionMatrix
from vitrail.evaluation.counts import DatasetCounts
from vitrail.evaluation.loader import evaluation_dataset, evaluation_samples, own_sampler
from vitrail.evaluation.parts import PartFile, described
from vitrail.evaluation.report import SavePredictions, WorstImages, check_not_in_data, check_outputs
from vitrail.evaluation.result import Evaluation, ImageResult, ImageScore, score_image
from vitrail.evaluation.submission import WriteSubmission, check_submission
from vitrail.evaluation.threshold import ThresholdCounts
from vitrail.inference import Predictor
from vitrail.inference.resolve import resolve_recipe
from vitrail.inference.score_map import Labels
from vitrail.inference.segmenter import chosen_threshold
from vitrail.inference.shards import EVERYTHING, Shard
from vitrail.precision import Precision
from vitrail.recipes import EvalConfig, Recipe
from vitrail.runtime.device import pick_device
from vitrail.runtime.distributed import gather_objects, main_first, on_main, process_group
from vitrail.runtime.progress_bar import ProgressBar
from vitrail.segmentors import ModelCard, Segmentor

_MAX_PENDING_BATCHES = 4  # number of batches of images that may wait for others of their size


def evaluate(
    model: Segmentor | str | Path,
    *,
    recipe: Recipe | str | Path | None = None,
    overrides: Sequence[str] = (),
    data_root: str | Path | None = None,
    split: str | None = None,
    device: str | torch.device | None = None,
    amp: Precision | None = None,
    save_predictions: str | Path | None = None,
    report: str | Path | None = None,
    worst: int = 20,
    submission: str | Path | None = None,
    shard: Shard | None = None,
    parts: str | Path | None = None,
    overwrite: bool = False,
    trust_imports: bool = False,
) -> Evaluation:
    """Evaluate a model on one split of a dataset.

    Under `torchrun` the images are divided among the processes, and every process returns the same result.

    Parameters
    ----------
    model : Segmentor, str or Path
        A model, or what `vitrail.load` takes: a name, a file, an address.
    recipe : Recipe, str or Path, optional
        Which dataset, and how to predict. None takes the recipe that the model was trained with.
    overrides : sequence of str
        Changes to the recipe, such as "evaluation.flip=true".
    data_root : path, optional
        The folder or archive of the dataset; None takes the recipe's.
    split : str, optional
        None takes the recipe's, normally "val".
    device : str or torch.device, optional
        None takes the best available device.
    amp : {"none", "bfloat16", "float16"}, optional
        Precision of the model; None takes the recipe's `evaluation.amp`. Published figures are those of "none".
    save_predictions : path, optional
        A folder for the predictions: PNG files named by image id whose pixel values are class indices, with the
        classes' colours as their palette.
    report : path, optional
        A folder for `index.html`, which shows the images with the lowest mean IoU, and `summary.json`.
    worst : int
        Number of images in the report.
    submission : path, optional
        A folder for the predictions as the benchmark's server takes them. The masks of the split need not be
        published; every figure is nan then. The finished folder is checked.
    shard : Shard, optional
        The part of the images to evaluate, with `parts`: part I of N has the images I, I + N, … of the split. It goes
        neither with a report and a submission, which are of all images, nor with `evaluation.threshold=auto`.
    parts : path, optional
        A folder or an address in object storage for the counts of the shard; `merge_evaluations` adds up those of all.
    overwrite : bool
        Replace predictions, a report, a submission and counts that are there already.
    trust_imports : bool
        Let a model file import the modules that it names; see `vitrail.load`.

    Returns
    -------
    Evaluation
        Of the images of the shard.

    Raises
    ------
    VitrailError
        When model, recipe or dataset cannot be found or read, or do not fit together, and, before anything is
        computed, when files to be written exist.

    Examples
    --------
    >>> evaluation = evaluate("runs/fcn/best.safetensors", data_root="data/camvid", report="report")
    >>> print(evaluation.table())
    """
    part = _part_file(shard, parts, whole=report is not None or submission is not None, overwrite=overwrite)
    shard = shard or EVERYTHING
    target = pick_device(device)
    with process_group(target):
        if not isinstance(model, Segmentor):
            with main_first():  # one process downloads
                model = load(model, trust_imports=trust_imports)
        target = computing_device(model, target, explicit=device is not None)
        model = model.to(target)
        with imports_of(model.card or ModelCard((), ()), "the model's recipe", trust=False):
            recipe = resolve_recipe(recipe, overrides, card=model.card)
            dataset = evaluation_dataset(recipe.data, root=data_root, split=split, unlabelled=submission is not None)
        benchmark = dataset.benchmark
        _check_classes(model, benchmark)
        predictions, page = (None if path is None else Path(path) for path in (save_predictions, report))
        own_ids = dataset.ids[shard.index :: shard.count]
        on_main(lambda: check_outputs(predictions, page, dataset, own_ids, overwrite=overwrite))
        observers: list[Callable[[ImageResult], None]] = []
        if predictions is not None:
            observers.append(SavePredictions(predictions, benchmark.palette))
        handed_in = None if submission is None else _submission(Path(submission), recipe, dataset, overwrite=overwrite)
        if handed_in is not None:
            observers.append(handed_in)
        worst_images = None if page is None else WorstImages(page, benchmark.palette, count=worst)
        if worst_images is not None:
            observers.append(worst_images)
        counts = count_dataset(
            model,
            dataset,
            recipe.evaluation,
            device=target,
            workers=recipe.data.workers,
            amp=amp,
            mean=recipe.data.mean if model.card is None else None,
            std=recipe.data.std if model.card is None else None,
            observers=observers,
            shard=shard,
        )
        evaluation = counts.evaluation()
        if part is not None:
            about = described(model, dataset, recipe.evaluation, amp or recipe.evaluation.amp)
            on_main(lambda: part.write(counts, about))
        if worst_images is not None:
            worst_images.write(evaluation, title=_title(model, recipe, split))
        if handed_in is not None:
            _check_submission(handed_in, benchmark)
    return evaluation


def _part_file(shard: Shard | None, parts: str | Path | None, *, whole: bool, overwrite: bool) -> PartFile | None:
    """Return the file for the counts of a shard, None without one; or raise a VitrailError for what does not fit."""
    if (shard is None) != (parts is None):
        raise VitrailError(
            "--shard (shard=) and --parts (parts=) go together: a part of the images, and a folder for counts"
        )
    if shard is None or parts is None:
        return None
    if whole:
        raise VitrailError("a report and a submission are of all images: evaluate them in one run, without --shard")
    return PartFile(parts, shard, overwrite=overwrite)


def _submission(folder: Path, recipe: Recipe, dataset: SegmentationDataset, *, overwrite: bool) -> WriteSubmission:
    """Return what writes a submission, or raise a VitrailError when it must not be written to the folder."""
    if recipe.data.classes:
        raise VitrailError("data.classes changes the classes, but a benchmark's server wants the dataset's own")
    handed_in = WriteSubmission(folder, dataset.benchmark, dataset.ids)
    check_not_in_data(handed_in.paths, dataset)
    on_main(lambda: handed_in.refuse_existing(overwrite=overwrite))  # before any process writes
    return handed_in


def _check_submission(handed_in: WriteSubmission, benchmark: Benchmark) -> None:
    sizes = {image_id: size for share in gather_objects(handed_in.sizes) for image_id, size in share.items()}
    on_main(lambda: check_submission(handed_in.folder, benchmark, sizes))


def evaluate_dataset(
    model: Segmentor,
    dataset: SegmentationDataset,
    settings: EvalConfig,
    *,
    device: torch.device,
    workers: int = 0,
    amp: Precision | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    observers: Sequence[Callable[[ImageResult], None]] = (),
) -> Evaluation:
    """Evaluate a model on a dataset that is open already; training calls this.

    Parameters and errors are those of `count_dataset`.

    Returns
    -------
    Evaluation
        The same in every process.
    """
    counts = count_dataset(
        model,
        dataset,
        settings,
        device=device,
        workers=workers,
        amp=amp,
        mean=mean,
        std=std,
        observers=observers,
        shard=EVERYTHING,
    )
    return counts.evaluation()


def count_dataset(
    model: Segmentor,
    dataset: SegmentationDataset,
    settings: EvalConfig,
    *,
    device: torch.device,
    workers: int,
    amp: Precision | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    observers: Sequence[Callable[[ImageResult], None]],
    shard: Shard,
) -> DatasetCounts:
    """Segment the images of a dataset that is open already, or of one shard of it, and count their pixels.

    In a process group each process evaluates its share of the images, every image exactly once, and all return the same
    figures. Afterwards the model is in the mode it was in before; global random state is not touched.

    Parameters
    ----------
    model : Segmentor
        The bare model, not wrapped for distributed training.
    dataset : SegmentationDataset
        Opened with an `EvalTransform`: masks keep their size, predictions are made at it.
    settings : EvalConfig
        How to predict; `batch_size` images of equal size, or windows, go through the model together.
    device : torch.device
        Where to compute.
    workers : int
        Number of processes that load images; 0 loads them in this process.
    amp : {"none", "bfloat16", "float16"}, optional
        Precision of the model; None takes `settings.amp`. The precision of training has no influence.
    mean, std : sequence of float, optional
        Normalisation of images in 0…255; None takes the model card's.
    observers : sequence of callable
        Each is called with the result of every image, in the process that computed it.
    shard : Shard
        The part of the images to evaluate.

    Returns
    -------
    DatasetCounts
        The same in every process.

    Raises
    ------
    DatasetError
        When the dataset's classes are not those of the model, or an image or mask is unusable (named by path or id).
    """
    benchmark = dataset.benchmark
    _check_classes(model, benchmark)
    as_given = functools.partial(
        Predictor,
        model,
        device=device,
        amp=amp,
        resize=None,  # the dataset has resized its images
        flip_pairs=benchmark.flip_pairs,
        mean=mean,
        std=std,
    )
    start = time.perf_counter()
    if settings.threshold == "auto":
        if shard.count > 1:
            raise VitrailError(
                "evaluation.threshold=auto is found on all images: evaluate in one run, without --shard, or give the "
                "threshold, as in evaluation.threshold=0.4"
            )
        settings = settings.model_copy(update={"threshold": _best_threshold(as_given, dataset, settings, workers)})
    classes = len(benchmark.classes)
    predictor = as_given(settings=settings, scores=settings.calibration)
    matrix = ConfusionMatrix(classes, device)
    boundaries = BoundaryCounts(classes, device) if settings.boundary_iou else None
    calibration = CalibrationCounts(classes, device) if settings.calibration else None
    scores: list[ImageScore] = []
    for sample, labels, mask in _segmented(predictor, dataset, workers, "evaluate", shard):
        counts = _counted(matrix, sample["id"], labels.mask, mask)
        result = ImageResult(
            sample["id"], sample["image"], mask, labels.mask, counts, score_image(sample["id"], counts)
        )
        scores.append(result.score)
        if boundaries is not None:
            boundaries.update(result.prediction, mask)
        if calibration is not None and labels.scores is not None:
            calibration.update(result.prediction, labels.scores, mask)
        for observer in observers:
            observer(result)
    matrix.reduce()
    gathered = gather_objects((scores, time.perf_counter() - start))
    position = {image_id: index for index, image_id in enumerate(dataset.ids)}
    all_scores = sorted((score for own, _ in gathered for score in own), key=lambda score: position[score.id])
    return DatasetCounts(
        confusion=matrix.matrix.cpu(),
        classes=tuple(benchmark.classes),
        palette=tuple(benchmark.palette),
        scores=tuple(all_scores),
        seconds=max(seconds for _, seconds in gathered),
        boundary=None if boundaries is None else boundaries.reduce().cpu(),
        calibration=None if calibration is None else calibration.reduce().cpu(),
        threshold=chosen_threshold(settings, classes),
    )


def _best_threshold(
    create: Callable[..., Predictor], dataset: SegmentationDataset, settings: EvalConfig, workers: int
) -> float:
    """Return the threshold of the second of two classes with the highest mean IoU; this takes a pass of its own."""
    chosen_threshold(settings, len(dataset.benchmark.classes))  # raises for more than two classes
    predictor = create(settings=settings.model_copy(update={"threshold": 0.0}), scores=True)
    counts = ThresholdCounts(predictor.device)
    for sample, labels, mask in _segmented(predictor, dataset, workers, "threshold"):
        _counted(ConfusionMatrix(2, predictor.device), sample["id"], labels.mask, mask)  # raises for unknown values
        counts.update(labels, mask)
    return counts.best()


def _segmented(
    predictor: Predictor, dataset: SegmentationDataset, workers: int, title: str, shard: Shard = EVERYTHING
) -> Iterator[tuple[dict[str, Any], Labels, Tensor]]:
    """Yield the samples of this process with their labels, and their masks on the device."""
    batch_size, device = predictor.settings.batch_size, predictor.device
    samples = evaluation_samples(dataset, workers=workers, batch_size=batch_size, device=device, shard=shard)
    with ProgressBar(title, total=len(own_sampler(dataset, shard))) as bar:
        for group in _groups(samples, batch_size):
            images, sizes = [sample["image"] for sample in group], [tuple(sample["mask"].shape) for sample in group]
            if predictor.with_scores:
                found = predictor.segment_with_scores(images, sizes)
            else:
                found = [Labels(mask, None) for mask in predictor.segment(images, sizes)]
            for sample, labels in zip(group, found, strict=True):
                yield sample, labels, sample["mask"].to(device, non_blocking=True)
            bar.advance(len(group))


def _counted(matrix: ConfusionMatrix, image_id: str, prediction: Tensor, mask: Tensor) -> Tensor:
    """Add an image to the confusion matrix and return its own counts; an error names the image."""
    try:
        return matrix.update(prediction, mask)
    except DatasetError as error:
        raise DatasetError(f"image {image_id!r}: {error}") from error


def _groups(samples: Iterable[dict[str, Any]], batch_size: int) -> Iterator[list[dict[str, Any]]]:
    """Yield batches of samples of equal size; when too many samples are pending, the largest batch is yielded early."""
    pending: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for sample in samples:
        shape = tuple(sample["image"].shape)
        pending.setdefault(shape, []).append(sample)
        if len(pending[shape]) == batch_size:
            yield pending.pop(shape)
        elif sum(map(len, pending.values())) > _MAX_PENDING_BATCHES * batch_size:
            yield pending.pop(max(pending, key=lambda shape: len(pending[shape])))
    yield from pending.values()


def _check_classes(model: Segmentor, benchmark: Benchmark) -> None:
    """Raise when the model was trained for other classes than the dataset's, or for the same ones in another order."""
    classes = benchmark.classes
    if model.num_classes != len(classes):
        named = f" ({', '.join(model.card.classes[:5])}, …)" if model.card else ""
        raise DatasetError(
            f"the model has {model.num_classes} classes{named}, dataset {benchmark.name!r} has {len(classes)} "
            f"({', '.join(classes[:5])}, …): evaluate it on the dataset it was trained for"
        )
    if model.card and model.card.classes != classes and sorted(model.card.classes) == sorted(classes):
        index = next(i for i, name in enumerate(classes) if model.card.classes[i] != name)
        raise DatasetError(
            f"the model has the classes of dataset {benchmark.name!r} in another order: class {index} is "
            f"{model.card.classes[index]!r} to the model and {classes[index]!r} in the dataset"
        )


def _title(model: Segmentor, recipe: Recipe, split: str | None) -> str:
    name = (model.card.name if model.card else "") or recipe.name or recipe.model.segmentor
    return f"{name} on {recipe.data.dataset}, {split or recipe.data.eval_split}"
