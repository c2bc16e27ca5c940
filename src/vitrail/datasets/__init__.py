"""Benchmarks, users' own folders, and how samples are drawn from them."""

from vitrail.datasets.benchmark import BENCHMARKS, IGNORE, Benchmark, Split, register_benchmark
from vitrail.datasets.collate import collate_eval, collate_train
from vitrail.datasets.dataset import (
    SegmentationDataset,
    Source,
    create_dataset,
    list_datasets,
    register_dataset,
)
from vitrail.datasets.image_files import read_image
from vitrail.datasets.mask_files import read_mask
from vitrail.datasets.sampler import Draw, EvalSampler, TrainSampler
from vitrail.registry import import_submodules

__all__ = [
    "BENCHMARKS",
    "IGNORE",
    "Benchmark",
    "Draw",
    "EvalSampler",
    "SegmentationDataset",
    "Source",
    "Split",
    "TrainSampler",
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
