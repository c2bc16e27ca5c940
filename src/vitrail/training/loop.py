"""The training loop."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler

from vitrail.evaluation.evaluator import evaluate_dataset
from vitrail.evaluation.loader import evaluation_dataset
from vitrail.evaluation.result import Evaluation
from vitrail.inference import Predictor
from vitrail.recipes import Recipe
from vitrail.runtime.device import autocast, memory_layout, pick_device
from vitrail.runtime.distributed import (
    broadcast_buffers,
    on_main,
    process_group,
    rank,
    synchronise_norms,
    world_size,
    wrap_ddp,
)
from vitrail.runtime.progress_bar import ProgressBar
from vitrail.segmentors import Segmentor
from vitrail.training.accumulate import split, without_reduction
from vitrail.training.checkpoint import Checkpoints, Position, check_output_dir
from vitrail.training.ema import WeightAverage
from vitrail.training.loader import batches_on, training_dataset, training_loader
from vitrail.training.loggers.run_log import Record, RunLog
from vitrail.training.loggers.tensorboard import Board
from vitrail.training.meter import Meter, peak_memory
from vitrail.training.setup import (
    explain_single_images,
    freeze_norms,
    make_plan,
    own_random_state,
    progress_at,
    quiet_about_skipped_steps,
    training_model,
    training_optimizer,
    training_recipe,
)
from vitrail.transforms import Normalize


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """What training gives.

    Attributes
    ----------
    model : Segmentor
        As it was at the end (the average of the weights where `train.ema` is set), in evaluation mode, with its card.
    output_dir : Path
        Holds the files below, `train.log`, `log.jsonl` and `last.state.pt`.
    best, last : Path
        The model with the best mIoU, and the one of the end.
    history : list of dict
        The records of `log.jsonl`.
    evaluation : Evaluation
        Of `model` on the evaluation split.
    """

    model: Segmentor
    output_dir: Path
    best: Path
    last: Path
    history: list[Record]
    evaluation: Evaluation


def train(
    recipe: Recipe | str | Path,
    *,
    output_dir: str | Path,
    overrides: Sequence[str] = (),
    data_root: str | Path | None = None,
    resume: bool = False,
    device: str | torch.device | None = None,
) -> TrainingRun:
    """Train a model.

    Under `torchrun` every process calls this alike. The batch of the recipe is that of one optimizer step, over all
    processes and all parts (`train.accumulate`) together: each part's loss counts by its share of the batch's labelled
    pixels, so that for losses which average over those pixels the gradient is that of the whole batch, however it is
    split. (Batch norms see the parts one by one. Losses that average over something else, such as dice and Lovász,
    are averaged over the parts.)

    A run that was interrupted, in whatever way, goes on with `resume=True` from its last checkpoint, as if it had not
    been: on the CPU with the same number of processes the weights are the same bit for bit. Torch's global random
    state is left as it was.

    Parameters
    ----------
    recipe : Recipe, str or Path
        A recipe, the name of a shipped one, or a YAML file.
    output_dir : str or Path
        Where models, state and logs are written; under `torchrun` a folder that every process sees.
    overrides : sequence of str
        Such as "train.batch_size=8".
    data_root : str or Path, optional
        The dataset's folder; takes precedence over `data.root`.
    resume : bool
        Go on with the run in `output_dir`.
    device : str or torch.device, optional
        None takes the best there is.

    Returns
    -------
    TrainingRun

    Raises
    ------
    VitrailError
        For mistakes in the recipe, the data or the arguments.
    TrainingError
        When the loss is no longer finite or the disk is full; the last good checkpoint is then still there.

    Examples
    --------
    >>> run = vitrail.train("fastscnn_camvid", output_dir="runs/first", data_root="data/camvid")
    >>> run.evaluation.miou
    """
    recipe = training_recipe(recipe, overrides, data_root)
    folder, settings, device = Path(output_dir), recipe.train, pick_device(device)
    with contextlib.ExitStack() as stack:
        stack.enter_context(process_group(device))
        stack.enter_context(own_random_state(device, settings.seed))
        stack.enter_context(quiet_about_skipped_steps())
        stack.enter_context(explain_single_images())
        on_main(lambda: check_output_dir(folder, resume=resume))
        train_set, eval_set = training_dataset(recipe.data), evaluation_dataset(recipe.data)
        plan = make_plan(settings, len(train_set))

        model = training_model(recipe, train_set.benchmark, pretrained=not resume).to(device)
        if settings.sync_norms:
            model = synchronise_norms(model, device)
        layout = memory_layout(settings.channels_last, device)
        model = model.to(memory_format=layout)
        model.train()
        if settings.freeze_norms:
            freeze_norms(model.backbone)
        average = WeightAverage(model, settings.ema) if settings.ema is not None else None
        product = model if average is None else average.module  # what is judged, saved for use, and returned
        optimizer, schedule = training_optimizer(model, recipe, plan.iterations)
        scaler = GradScaler(device.type, enabled=settings.amp == "float16")

        torch.manual_seed(settings.seed + rank())  # from here on processes differ, as in what dropout drops
        checkpoints = Checkpoints(
            folder,
            recipe=recipe,
            image_ids=train_set.ids,
            model=model,
            average=average,
            optimizer=optimizer,
            schedule=schedule,
            scaler=scaler,
            device=device,
        )
        position = checkpoints.restore() if resume else Position()
        network = wrap_ddp(model, device)
        step = torch.compile(network) if settings.compile else network
        normalize = Normalize(recipe.data.mean, recipe.data.std).to(device)

        log = stack.enter_context(RunLog(folder, position.history, plan, batch_size=settings.batch_size))
        log.begin(recipe, model, start=position.iteration, images=len(train_set), device=device)
        board = stack.enter_context(Board(folder, start=position.iteration)) if settings.tensorboard else None
        total, done = plan.iterations * settings.batch_size, position.iteration * settings.batch_size
        bar = stack.enter_context(ProgressBar("train", total=total, done=done))
        loader = training_loader(train_set, recipe, start=position.iteration, device=device)
        batches = stack.enter_context(contextlib.closing(batches_on(device, loader)))
        meter = Meter(device, plan.log_every, hint=checkpoints.describe_last)
        evaluation: Evaluation | None = None

        for iteration in range(position.iteration + 1, plan.iterations + 1):
            with meter.waiting():
                images, targets = next(batches)  # uint8 [B, 3, H, W] and [B, H, W]
            model.set_progress(progress_at(iteration, plan, schedule))
            for part in split(images, targets, settings.accumulate):
                with contextlib.nullcontext() if part.last else without_reduction(network):
                    with autocast(device, settings.amp):
                        losses = step(normalize(part.images).contiguous(memory_format=layout), part.targets.long())
                    objective = torch.stack(list(losses.values())).sum() * part.share
                    scaler.scale(objective * world_size()).backward()  # DDP takes the mean over the processes
                meter.add(losses, part.share)
            if settings.clip_grad_norm is not None:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), settings.clip_grad_norm)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            lr = float(max(schedule.get_last_lr()))
            schedule.step()
            if average is not None:
                average.update_parameters(model)
            position.iteration = iteration
            meter.step()
            bar.advance(settings.batch_size)

            if plan.logs(iteration):
                record = log.losses(iteration, meter.read(iteration), lr=lr, memory=peak_memory(device))
                bar.note(loss=f"{record['loss']:.3f}")
                if board is not None:
                    board.curves(record)
            if not plan.saves(iteration):
                continue
            meter.check(iteration)
            with meter.paused():
                metrics: dict[str, float] = {}
                if plan.evaluates(iteration):
                    broadcast_buffers(product)
                    evaluation = evaluate_dataset(
                        product, eval_set, recipe.evaluation, device=device, workers=recipe.data.workers
                    )
                    metrics = {name: getattr(evaluation, name) for name in ("miou", "macc", "aacc", "mdice")}
                    best = evaluation.miou > position.best
                    if best:
                        position.best = evaluation.miou
                        checkpoints.save_best(iteration, product, metrics)
                    record = log.evaluation(iteration, evaluation, best=best)
                    if board is not None:
                        board.curves(record)
                        board.pictures(iteration, Predictor(product, recipe.evaluation, device=device), eval_set)
                checkpoints.save(position, product, metrics)

        if evaluation is None:  # the run was over before it was resumed
            evaluation = evaluate_dataset(
                product, eval_set, recipe.evaluation, device=device, workers=recipe.data.workers
            )
    return TrainingRun(product.eval(), folder, checkpoints.best, checkpoints.last, position.history, evaluation)
