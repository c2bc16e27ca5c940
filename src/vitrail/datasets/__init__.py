"""Datasets: benchmarks, folders of the user's own images, generated scenes; samplers and collation."""

from vitrail.datasets.benchmark import Benchmark, Split, Submission
from vitrail.datasets.collate import collate_eval, collate_train
from vitrail.datasets.dataset import (
    DATASETS,
    SegmentationDataset,
    Source,
    benchmarks,
    create_dataset,
    list_datasets,
    register_benchmark,
    register_dataset,
)
from vitrail.datasets.image_files import read_image
from vitrail.datasets.mask_files import read_mask
from vitrail.datasets.sampler import ClassSampling, EvalSampler, SampleKey, TrainSampler
from vitrail.registry import import_submodules

__all__ = [
    "DATASETS",
    "Benchmark",
    "ClassSampling",
    "EvalSampler",
    "SampleKey",
    "SegmentationDataset",
    "Source",
    "Split",
    "Submission",
    "TrainSampler",
    "benchmarks",
    "collate_eval",
    "collate_train",
    "create_dataset",
    "list_datasets",
    "read_image",
    "read_mask",
    "register_benchmark",
    "register_dataset",
]

import_submodules(__name__, list(__path__))
