"""Training by SSSegmentation's parts: its dataset and transforms, optimizer, schedule, model and losses.

Its `Trainer` runs on CUDA and in a process group only; the steps here are those of its `start`, in the same order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.equal_training.recorder import Recorder
from benchmarks.equal_training.settings import Plan, Settings
from benchmarks.equal_training.start import Start, seed_everything
from vitrail.datasets.camvid import CAMVID
from vitrail.labels import IGNORE

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"type": "SGD", "momentum": 0.9},
    "adam": {"type": "Adam", "eps": 1e-8},
    "adamw": {"type": "AdamW", "betas": (0.9, 0.999)},
}


def train(
    begun: Start,
    settings: Settings,
    plan: Plan,
    recorder: Recorder,
    *,
    seed: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Recorder:
    """Train SSSegmentation's model of a start."""
    from ssseg.modules import BuildOptimizer, BuildScheduler
    from ssseg.modules.utils import SSSegInputStructure

    seed_everything(seed)
    torch.backends.cudnn.benchmark = True  # as in its configurations
    device = torch.device(plan.device)
    model: Any = begun.model.to(device)
    model.mode = "TRAIN"
    optimizer = BuildOptimizer(model, optimizer_settings(settings))
    scheduler = BuildScheduler(optimizer=optimizer, scheduler_cfg=schedule(settings, plan))
    recorder.describe(optimizer.param_groups, settings.lr, settings.weight_decay)
    model.train()
    iteration = 0
    with _batches(plan, mean, std) as batches:
        for batch in batches:
            rate = scheduler.updatelr()
            inputs = SSSegInputStructure(
                mode="TRAIN",
                images=batch["image"].to(device, torch.float32, non_blocking=True),
                seg_targets=batch["seg_target"].to(device, torch.int64, non_blocking=True),
            )
            optimizer.zero_grad()
            loss = model(inputs).loss
            loss.backward()
            scheduler.step()
            iteration += 1
            recorder.add(loss)
            if plan.evaluates(iteration):
                ours, _ = begun.imported(model.state_dict())
                recorder.measure(ours, iteration, max(group["lr"] for group in optimizer.param_groups))
            if iteration == plan.iterations:
                break
    del rate
    return recorder


def optimizer_settings(settings: Settings) -> dict[str, Any]:
    """Return the optimizer with its rules."""
    return {
        **OPTIMIZERS[settings.optimizer],
        "lr": settings.lr,
        "weight_decay": settings.weight_decay,
        "params_rules": dict(settings.groups.ssseg),
    }


def schedule(settings: Settings, plan: Plan) -> dict[str, Any]:
    """Return the schedule over the iterations of the plan, as one epoch of so many."""
    warmup = plan.warmup(settings)
    return {
        "type": "PolyScheduler",
        "max_epochs": 1,
        "iters_per_epoch": plan.iterations,
        "power": settings.power,
        "min_lr": settings.min_lr,
        "lr": settings.lr,
        "warmup_cfg": {"type": "linear", "ratio": settings.warmup_ratio, "iters": warmup} if warmup else None,
        "clipgrad_cfg": None if settings.clip is None else {"max_norm": settings.clip, "norm_type": 2},
        "optimizer": None,  # which its builder takes out
        "params_rules": dict(settings.groups.ssseg),
    }


@contextlib.contextmanager
def _batches(plan: Plan, mean: tuple[float, ...], std: tuple[float, ...]) -> Iterator[Iterator[Any]]:
    """Yield an iterator over the batches of one epoch after the other; its loader wants a process group."""
    from ssseg.modules import BuildDistributedDataloader

    store: Any = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        loader = BuildDistributedDataloader(
            dataset=dataset(plan, mean, std),
            dataloader_cfg={
                "batch_size": plan.batch,
                "num_workers": plan.workers,
                "persistent_workers": plan.workers > 0,
                "shuffle": True,
                "pin_memory": plan.device == "cuda",
                "drop_last": True,
            },
        )
    finally:
        dist.destroy_process_group()  # the sampler has asked what it wanted to know

    def epochs() -> Iterator[Any]:
        epoch = 0
        while True:
            epoch += 1
            loader.sampler.set_epoch(epoch)
            yield from loader

    yield epochs()


def dataset(plan: Plan, mean: tuple[float, ...], std: tuple[float, ...]) -> Any:
    """Return the training images with the augmentation of SSSegmentation's configurations."""
    from ssseg.modules.datasets.base import BaseDataset

    class CamVid(BaseDataset):
        """CamVid, decoded."""

        num_classes = len(CAMVID.classes)

        def __init__(self, mode: str, logger_handle: Any, dataset_cfg: dict[str, Any]) -> None:
            super().__init__(mode=mode, logger_handle=logger_handle, dataset_cfg=dataset_cfg)
            self.classnames = list(CAMVID.classes)
            self.image_ext, self.ann_ext = ".bmp", ".png"
            self.image_dir, self.ann_dir = str(plan.data / "train"), str(plan.data / "trainannot")
            self.imageids = sorted(file.stem for file in (plan.data / "train").glob("*.bmp"))

    height, width = plan.size
    pipeline = [
        ["Resize", {"output_size": (width, height), "keep_ratio": True, "scale_range": (0.5, 2.0)}],
        ["RandomCrop", {"crop_size": plan.crop, "one_category_max_ratio": 0.75, "ignore_index": IGNORE}],
        ["RandomFlip", {"prob": 0.5}],
        ["PhotoMetricDistortion", {}],
        ["Normalize", {"mean": mean, "std": std}],
        ["ToTensor", {}],
        ["Padding", {"output_size": plan.crop, "data_type": "tensor", "seg_target_fill_value": IGNORE}],
    ]
    return CamVid("TRAIN", None, {"type": "CamVid", "data_pipelines": pipeline, "ignore_index": IGNORE})
