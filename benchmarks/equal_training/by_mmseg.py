"""Training by MMSegmentation: MMEngine's runner, its optimizer wrapper and schedulers, and its data pipeline."""

from __future__ import annotations

import tempfile
from typing import Any

import torch

from benchmarks.equal_training.recorder import Recorder
from benchmarks.equal_training.settings import Plan, Settings
from benchmarks.equal_training.start import Start
from vitrail.datasets.camvid import CAMVID

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"type": "SGD", "momentum": 0.9},
    "adam": {"type": "Adam", "eps": 1e-8},
    "adamw": {"type": "AdamW", "betas": (0.9, 0.999)},
}


def train(begun: Start, settings: Settings, plan: Plan, recorder: Recorder, *, seed: int) -> Recorder:
    """Train MMSegmentation's model of a start."""
    from mmengine.runner import Runner

    model: Any = begun.model
    model.data_preprocessor.size = plan.crop
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(
            model=model,
            work_dir=folder,
            train_dataloader=dataloader(plan),
            train_cfg={"type": "IterBasedTrainLoop", "max_iters": plan.iterations},
            optim_wrapper=optim_wrapper(settings),
            param_scheduler=schedulers(settings, plan),
            default_hooks={"logger": {"type": "LoggerHook", "interval": 10**9}, "checkpoint": None},
            custom_hooks=[_hook(begun, settings, plan, recorder)],
            env_cfg={
                "cudnn_benchmark": True,
                "mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0},
                "dist_cfg": {"backend": "nccl"},
            },
            log_processor={"by_epoch": False},
            log_level="ERROR",
            default_scope="mmseg",
            randomness={"seed": seed},
            experiment_name=folder.replace("/", "_"),
        )
        runner.train()
    return recorder


def dataloader(plan: Plan) -> dict[str, Any]:
    """Return the loader of the training images, with the augmentation of MMSegmentation's configs."""
    height, width = plan.size
    pipeline = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations"},
        {"type": "RandomResize", "scale": (width, height), "ratio_range": (0.5, 2.0), "keep_ratio": True},
        {"type": "RandomCrop", "crop_size": plan.crop, "cat_max_ratio": 0.75},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"},
        {"type": "PackSegInputs"},
    ]
    return {
        "batch_size": plan.batch,
        "num_workers": plan.workers,
        "persistent_workers": plan.workers > 0,
        "sampler": {"type": "InfiniteSampler", "shuffle": True},
        "dataset": {
            "type": "BaseSegDataset",
            "metainfo": {"classes": CAMVID.classes, "palette": [list(colour) for colour in CAMVID.palette]},
            "img_suffix": ".bmp",
            "seg_map_suffix": ".png",
            "data_root": str(plan.data),
            "data_prefix": {"img_path": "train", "seg_map_path": "trainannot"},
            "pipeline": pipeline,
        },
    }


def optim_wrapper(settings: Settings) -> dict[str, Any]:
    """Return the optimizer with its parameter groups."""
    wrapper: dict[str, Any] = {
        "type": "OptimWrapper",
        "optimizer": {**OPTIMIZERS[settings.optimizer], "lr": settings.lr, "weight_decay": settings.weight_decay},
    }
    if settings.groups.mmseg:
        wrapper["paramwise_cfg"] = {"custom_keys": dict(settings.groups.mmseg)}
    if settings.clip is not None:
        wrapper["clip_grad"] = {"max_norm": settings.clip, "norm_type": 2}
    return wrapper


def schedulers(settings: Settings, plan: Plan) -> list[dict[str, Any]]:
    """Return the warm-up, if any, and the polynomial schedule after it, as MMSegmentation's configs write them."""
    warmup = plan.warmup(settings)
    rise = {"type": "LinearLR", "start_factor": settings.warmup_ratio, "by_epoch": False, "begin": 0, "end": warmup}
    fall = {
        "type": "PolyLR",
        "eta_min": settings.min_lr,
        "power": settings.power,
        "begin": warmup,
        "end": plan.iterations,
        "by_epoch": False,
    }
    return [rise, fall] if warmup else [fall]


def _hook(begun: Start, settings: Settings, plan: Plan, recorder: Recorder) -> Any:
    """Return the hook that records a run; MMEngine is imported where it is used."""
    from mmengine.hooks import Hook

    class RecordHook(Hook):
        """Notes losses, and evaluates at the marks of the plan."""

        def before_train(self, runner: Any) -> None:
            """Describe the parameter groups."""
            groups = runner.optim_wrapper.optimizer.param_groups
            recorder.describe(groups, settings.lr, settings.weight_decay)

        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            """Note the loss; import and evaluate the weights."""
            recorder.add(torch.as_tensor(outputs["loss"]))
            iteration = runner.iter + 1
            if plan.evaluates(iteration):
                model, _ = begun.imported(runner.model.state_dict())
                recorder.measure(model, iteration, max(runner.optim_wrapper.get_lr()["lr"]))

    return RecordHook()
