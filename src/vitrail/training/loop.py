"""The training loop: a run in steps, each of which a subclass can override."""

from __future__ import annotations

import contextlib
import copy
import logging
import signal
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from vitrail.checkpoints.native import BEST
from vitrail.datasets import SampleKey, SegmentationDataset
from vitrail.datasets.fingerprint import fingerprint
from vitrail.datasets.worker_errors import explain_dead_workers
from vitrail.errors import TrainingError
from vitrail.evaluation.evaluator import evaluate_dataset
from vitrail.evaluation.loader import evaluation_dataset
from vitrail.evaluation.result import Evaluation
from vitrail.optim import create_optimizer, create_schedule
from vitrail.recipes import Recipe
from vitrail.runtime.device import autocast, memory_layout, pick_device
from vitrail.runtime.distributed import Strategy, create_strategy, is_main, on_main, process_group, rank
from vitrail.runtime.graphs import GraphedStep
from vitrail.runtime.kernels import CompiledModule, deterministic_algorithms, training_kernels
from vitrail.runtime.progress_bar import ProgressBar
from vitrail.segmentors import Progress, Segmentor
from vitrail.training.accumulate import split
from vitrail.training.batch_size import choose_batch_size, release_memory, unchanged_weights, with_batch_size
from vitrail.training.check_data import check_data
from vitrail.training.checkpoint import Checkpoints, saved_recipe
from vitrail.training.class_counts import class_sampling
from vitrail.training.class_weights import with_class_weights
from vitrail.training.ema import WeightAverage, sharded_average
from vitrail.training.folder import LAST, can_resume, check_output_dir, locked
from vitrail.training.loader import batches_on, training_dataset, training_loader, with_augmentation, with_eval_resize
from vitrail.training.loggers import Logger, RunInfo, create_loggers
from vitrail.training.meter import Meter, peak_memory
from vitrail.training.notes import nothing_learned, start_notes, stretch
from vitrail.training.pictures import sample_pictures
from vitrail.training.plan import Plan, make_plan, progress_at
from vitrail.training.records import (
    EVALUATED,
    Record,
    evaluation_record,
    start_record,
    stop_record,
    train_record,
)
from vitrail.training.result import TrainingResult
from vitrail.training.setup import (
    check_model,
    explain_single_images,
    make_card,
    no_graph_because,
    own_random_state,
    prepare_model,
    quiet_about_skipped_steps,
    training_recipe,
)
from vitrail.training.start import create_start_model, start_of, with_origin, with_threshold
from vitrail.training.state import RunState
from vitrail.training.stopping import Clock, TerminationSignals, no_improvement
from vitrail.training.teacher import give_teacher
from vitrail.transforms import Normalize

_LOGGER = logging.getLogger(__name__)


class TrainingRun:
    """A training run: `run()` calls `setup()`, then `step()` until the plan is done.

    Every step is a method that a subclass can override: `create_datasets`, `create_model`, `create_optimizer`,
    `train_step`, `optimizer_step`, `log`, `evaluate`, `save`. Under `torchrun` every process makes the same run.

    Parameters
    ----------
    recipe : Recipe, str or Path
        A recipe, the name of a published one, or a YAML file.
    output_dir : str or Path
        Folder for models, state and logs; under `torchrun` one that every process sees.
    overrides : sequence of str
        Changes to the recipe, such as "train.batch_size=8".
    data_root : str or Path, optional
        The dataset's folder; takes precedence over `data.root`.
    resume : bool or "auto"
        Resume the run in `output_dir` from its last checkpoint; "auto" does so where there is one, and starts the run
        otherwise.
    start_from : str or Path, optional
        A trained model whose weights are taken where they fit: whatever `vitrail.load` takes. Takes precedence over
        `train.start_from`; a run that is resumed has weights of its own.
    device : str or torch.device, optional
        None takes the best there is.
    model : Segmentor, optional
        A ready model, which is trained in place, instead of the recipe's.
    train_dataset, eval_dataset : SegmentationDataset, optional
        Ready datasets instead of the recipe's. One without a transform gets the recipe's.

    Attributes
    ----------
    state : RunState
        Iteration, best mIoU and history so far.
    model, network : Segmentor, nn.Module
        The bare model, and the module that the strategy made of it, whose forward pass returns the losses.
    average : WeightAverage or None
        The moving average of the weights.
    evaluation : Evaluation or None
        The latest.
    stop_reason : str or None
        Why the run ends before its last iteration, as after `train.max_minutes`.
    started_from : dict or None
        What was taken from `train.start_from`; see `vitrail.training.start`.
    recipe, device
        The resolved recipe, and the device of this process.
    plan, strategy, optimizer, schedule, scaler, train_dataset, eval_dataset, loggers, checkpoints, meter
        The other parts of the run, which exist after `setup()`.

    Examples
    --------
    >>> class WithGradientNoise(TrainingRun):
    ...     def optimizer_step(self) -> float:
    ...         for parameter in self.model.parameters():
    ...             parameter.grad += 1e-3 * torch.randn_like(parameter.grad)
    ...         return super().optimizer_step()
    >>> result = WithGradientNoise("fastscnn_camvid", output_dir="runs/noise", data_root="data/camvid").run()
    """

    plan: Plan
    strategy: Strategy
    train_dataset: SegmentationDataset
    eval_dataset: SegmentationDataset
    model: Segmentor
    network: nn.Module
    average: WeightAverage | None
    optimizer: Optimizer
    schedule: LRScheduler
    scaler: GradScaler
    checkpoints: Checkpoints
    meter: Meter

    def __init__(
        self,
        recipe: Recipe | str | Path,
        *,
        output_dir: str | Path,
        overrides: Sequence[str] = (),
        data_root: str | Path | None = None,
        resume: bool | Literal["auto"] = False,
        start_from: str | Path | None = None,
        device: str | torch.device | None = None,
        model: Segmentor | None = None,
        train_dataset: SegmentationDataset | None = None,
        eval_dataset: SegmentationDataset | None = None,
    ) -> None:
        self.recipe = training_recipe(recipe, overrides, data_root, start_from)
        if model is not None and self.recipe.train.start_from is not None:
            raise TrainingError("a ready model is trained from the weights that it has: leave out start_from")
        self.folder = Path(output_dir)
        self.resume = resume is True
        self._resume_if_possible = resume == "auto"
        self.device = pick_device(device)
        self.state = RunState()
        self.stop_reason: str | None = None
        self._stopped_by = 0
        self._restored = False
        self._warned = False
        self._signals = TerminationSignals()
        self.started_from: Record | None = None
        self.evaluation: Evaluation | None = None
        self.loggers: dict[str, Logger] = {}
        self._given_model = model
        self._given_train_dataset = train_dataset
        self._given_eval_dataset = eval_dataset

    # The run

    def run(self) -> TrainingResult:
        """Train to the end of the plan; torch's global random state is left as it was.

        Raises
        ------
        VitrailError
            For mistakes in the recipe, the data or the arguments.
        TrainingError
            When the loss is no longer finite or the disk is full; the last good checkpoint is then still there. When
            another run uses the output folder.
        SystemExit
            After SIGTERM or SIGHUP, once the run is saved: with the code 143 or 129, as for a process that the signal
            ends.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(process_group(self.device))
            stack.enter_context(locked(self.folder))
            self._signals = stack.enter_context(TerminationSignals())
            stack.enter_context(own_random_state(self.device, self.recipe.train.seed))
            stack.enter_context(deterministic_algorithms(self.recipe.train.deterministic))
            stack.enter_context(quiet_about_skipped_steps())
            stack.enter_context(explain_single_images())
            stack.enter_context(explain_dead_workers())
            stack.push(lambda kind, error, trace: self._finish_loggers(error))
            self.setup()
            self._batches = stack.enter_context(contextlib.closing(self.batches()))
            self._bar = stack.enter_context(self._progress_bar())
            while self.state.iteration < self.plan.iterations and self.stop_reason is None:
                self.step()
            self.checkpoints.wait()
            if self._stopped_by:
                raise SystemExit(128 + self._stopped_by)
            evaluation = self.evaluation or self.evaluate()  # a resumed run may have nothing left to train
            return self.result(evaluation)

    def setup(self) -> None:
        """Create everything that training needs, restore it when the run is resumed, and start the loggers."""
        if self._resume_if_possible:
            self.resume = on_main(lambda: can_resume(self.folder))
        on_main(lambda: check_output_dir(self.folder, resume=self.resume))
        train = self.recipe.train
        self.strategy = create_strategy(train.strategy.name, self.device, train.strategy.options)
        self.strategy.configure(train)
        self.loggers = self.create_loggers()
        self.train_dataset, self.eval_dataset = self.create_datasets()
        sized = self._choose_batch_size()
        train = self.recipe.train
        self.plan = make_plan(train, len(self.train_dataset))
        on_main(lambda: check_data(self.recipe, self.train_dataset, self.eval_dataset, self.plan))
        self.recipe, weights = on_main(lambda: with_class_weights(self.recipe, self.train_dataset, self.folder))
        self._class_sampling = on_main(lambda: class_sampling(self.recipe.data, self.train_dataset, self.folder))
        self._create_parts()
        torch.manual_seed(train.seed + rank())  # from here on processes differ, as in what dropout drops
        self.checkpoints = self._create_checkpoints()
        self.state, logger_states = self.checkpoints.restore() if self.resume else (RunState(), {})
        self._restored = self.resume
        notes = [*sized, *weights, *self._restore_position()]
        self._forward = CompiledModule(self.network) if train.compile == "inductor" else self.network
        self._backward = self._create_backward()
        self._start_loggers(logger_states, notes)
        self._clock = Clock(train.max_minutes)
        self.meter = Meter(self.device, self.plan.log_every, hint=self.checkpoints.describe_last)

    def _create_parts(self) -> None:
        """Create the model, what wraps it, and what updates it."""
        train = self.recipe.train
        self._layout = memory_layout(train.channels_last, self.device)
        self.model = prepare_model(
            self.create_model(), self.recipe, self.train_dataset.benchmark, self.strategy, self.device
        )
        self.average = None if train.ema is None else sharded_average(self.model, train.ema, self.strategy)
        self.network = self.strategy.wrap(self.model)
        self.optimizer, self.schedule = self.create_optimizer()
        self.scaler = GradScaler(self.device.type, enabled=train.amp == "float16")
        self._normalize = Normalize(self.recipe.data.mean, self.recipe.data.std).to(self.device)

    def step(self) -> None:
        """Make one optimizer step, and log, evaluate and save where the plan says so."""
        progress = progress_at(self.state.iteration + 1, self.plan, self.schedule)
        lr = self._train_on_next_batch(progress)
        iteration = self.state.iteration
        if self.plan.logs(iteration):
            self.log(lr)
        out_of_time = self._clock.is_up(agree=self.plan.logs(iteration) or self.plan.saves(iteration))
        self._stopped_by = self._signals.agree()
        if self.plan.saves(iteration) or out_of_time or self._stopped_by:
            if self.average is not None:
                self.average.module.set_progress(progress)  # what depends on it has no average
            self.meter.check(iteration)
            with self.meter.paused():
                self._evaluate_and_save(out_of_time=out_of_time)

    def _train_on_next_batch(self, progress: Progress) -> float:
        """Make one optimizer step and count it; return the learning rate that was used."""
        with self.meter.waiting():
            images, targets = next(self._batches)
        self.model.set_progress(progress)
        self.train_step(images, targets)
        with self.checkpoints.first_use() if self._restored else contextlib.nullcontext():
            lr = self.optimizer_step()
        self._restored = False
        self.state = replace(self.state, iteration=self.state.iteration + 1)
        self.meter.step()
        self._bar.advance(self.recipe.train.images_per_step)
        return lr

    def _evaluate_and_save(self, *, out_of_time: bool) -> None:
        """Evaluate where the plan says so, decide whether the run ends here, and save it."""
        iteration = self.state.iteration
        evaluation = self.evaluate_and_log() if self.plan.evaluates(iteration) or out_of_time else None
        reason = self.reason_to_stop(out_of_time=out_of_time) if iteration < self.plan.iterations else None
        if reason is not None:
            self._end_early(reason)
        self.save(evaluation)

    def reason_to_stop(self, *, out_of_time: bool) -> str | None:
        """Return why the run ends now, before its last iteration; None when it goes on.

        Asked after the evaluation, if any, and before the run is saved.

        Parameters
        ----------
        out_of_time : bool
            Whether `train.max_minutes` have passed.
        """
        if reason := no_improvement(self.recipe.train.early_stopping, self.state.history):
            return reason
        if out_of_time:
            return f"stopped after train.max_minutes={self.recipe.train.max_minutes:g}; --resume goes on"
        if self._stopped_by:
            return f"stopped by {signal.Signals(self._stopped_by).name}; --resume goes on"
        return None

    def _end_early(self, reason: str) -> None:
        """Set `stop_reason`, and log it."""
        self.stop_reason = reason
        record = stop_record(self.state.iteration, self.plan, reason)
        self.state = self.state.with_record(record)
        for logger in self.loggers.values():
            logger.stop(record)

    def result(self, evaluation: Evaluation) -> TrainingResult:
        """Return the result of the run."""
        model = self.strategy.evaluation_model(self.eval_model).eval()
        history = list(self.state.history)
        return TrainingResult(model, self.folder, self.folder / BEST, self.folder / LAST, history, evaluation)

    # One iteration

    def batches(self) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield this process's images [B, 3, H, W] and masks [B, H, W], uint8 on the device, from here on."""
        loader = training_loader(
            self.train_dataset,
            self.recipe,
            start=self.state.iteration,
            device=self.device,
            class_sampling=self._class_sampling,
        )
        return batches_on(self.device, loader)

    def train_step(self, images: Tensor, targets: Tensor) -> None:
        """Run the forward and backward pass of a batch, in as many parts as `train.accumulate` says.

        Each part's loss counts by its share of the batch's labelled pixels, so that for losses which average over
        those pixels the gradient is that of the whole batch.

        Parameters
        ----------
        images, targets : Tensor [B, 3, H, W], Tensor [B, H, W]
            This process's share of the batch, uint8; 255 is ignored.
        """
        train = self.recipe.train
        compiled = train.compile == "inductor"
        with training_kernels(self.device, tf32=train.tf32, deterministic=train.deterministic, compiled=compiled):
            for part in split(images, targets, train.accumulate):
                with contextlib.nullcontext() if part.last else self.strategy.accumulate(self.network):
                    losses = self._backward(part.images, part.targets, part.share)
                self.meter.add(losses, part.share)

    def backward(self, images: Tensor, targets: Tensor, share: Tensor) -> dict[str, Tensor]:
        """Add to the gradients those of the losses of uint8 images and targets, times `share`; return the losses."""
        losses = self.compute_losses(images, targets)
        objective = torch.stack(list(losses.values())).sum() * share
        self.scaler.scale(objective * self.strategy.loss_scale).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def compute_losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the losses by name, whose sum is minimised, for uint8 images [b, 3, H, W] and targets [b, H, W]."""
        with autocast(self.device, self.recipe.train.amp):
            inputs = self._normalize(images).contiguous(memory_format=self._layout)
            losses: dict[str, Tensor] = self._forward(inputs, targets.long())
        return losses

    def optimizer_step(self) -> float:
        """Clip the gradients, update weights, learning rate and average; return the learning rate that was used."""
        if self.recipe.train.clip_grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            self.strategy.clip_grad_norm(self.model, self.recipe.train.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        lr = float(max(self.schedule.get_last_lr()))
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return lr

    # Logging, evaluating, saving

    def log(self, lr: float) -> None:
        """Log the means over the iterations since the last call."""
        iteration, batch_size = self.state.iteration, self.recipe.train.images_per_step
        window, memory = self.meter.read(iteration), peak_memory(self.device)
        warning = nothing_learned(window)
        if warning and not self._warned and is_main():
            self._warned = True
            _LOGGER.warning("%s", warning)
        record = train_record(iteration, self.plan, window, batch_size=batch_size, lr=lr, memory=memory)
        self.state = self.state.with_record(record)
        self._bar.note(loss=f"{record['loss']:.3f}")
        for logger in self.loggers.values():
            logger.train(record)

    @property
    def eval_model(self) -> Segmentor:
        """The model that is evaluated, saved and returned: the average of the weights where there is one."""
        return self.model if self.average is None else self.average.module

    def evaluate(self) -> Evaluation:
        """Return the evaluation of `eval_model` on the evaluation dataset; every process calls this."""
        model = self.strategy.evaluation_model(self.eval_model)
        workers = self.recipe.data.workers
        return evaluate_dataset(model, self.eval_dataset, self.recipe.evaluation, device=self.device, workers=workers)

    def evaluate_and_log(self) -> Evaluation:
        """Evaluate, log the figures and sample predictions, and save the model when it is the best so far."""
        iteration, evaluation = self.state.iteration, self.evaluate()
        best = evaluation.miou > self.state.best
        record = evaluation_record(iteration, self.plan, evaluation, best=best)
        self.state = self.state.with_record(record)
        if best:
            self.state = replace(self.state, best=evaluation.miou)
            self.checkpoints.save_best(iteration, self._with_metrics(evaluation))
        for logger in self.loggers.values():
            logger.evaluation(record)
        self._log_pictures()
        self.evaluation = evaluation
        return evaluation

    def save(self, evaluation: Evaluation | None) -> None:
        """Save the model and the state of the run; every process calls this.

        Parameters
        ----------
        evaluation : Evaluation or None
            That of this iteration, for the model's card.
        """
        self.checkpoints.save(self.state, self._with_metrics(evaluation), self.loggers)

    # Parts of the setup

    def create_datasets(self) -> tuple[SegmentationDataset, SegmentationDataset]:
        """Return the training and evaluation datasets, with their transforms."""
        train, evaluation = self._given_train_dataset, self._given_eval_dataset
        data = self.recipe.data
        if train is None:
            train = training_dataset(data)
        elif train.transform is None:
            train = with_augmentation(train, data)
        if evaluation is None:
            evaluation = evaluation_dataset(data)
        elif evaluation.transform is None:
            evaluation = with_eval_resize(evaluation, data)
        return train, evaluation

    def create_model(self) -> Segmentor:
        """Return the bare model on the CPU or this process's device."""
        model, benchmark = self._given_model, self.train_dataset.benchmark
        if model is None:
            model, self.started_from = create_start_model(self.recipe, benchmark, resume=self.resume)
        else:
            check_model(model, self.recipe, benchmark)
        give_teacher(model, self.recipe, benchmark)
        return model

    def create_optimizer(self) -> tuple[Optimizer, LRScheduler]:
        """Return the optimizer over the parameters of `model`, and its schedule."""
        optimizer = create_optimizer(self.model, self.recipe.optimizer)
        return optimizer, create_schedule(optimizer, self.recipe.schedule, self.plan.iterations)

    def create_loggers(self) -> dict[str, Logger]:
        """Return the loggers by name; empty in all processes but rank 0."""
        loggers: dict[str, Logger] = {}
        on_main(lambda: loggers.update(create_loggers(self.recipe.train.loggers)))
        return loggers

    def _choose_batch_size(self) -> list[str]:
        """Replace `train.batch_size=auto` by a number; return what the log should say."""
        if self.recipe.train.batch_size != "auto":
            return []
        if self.resume:
            size = on_main(lambda: saved_recipe(self.folder)).train.images_per_step
            self.recipe = with_batch_size(self.recipe, size)
            return []
        trial = copy.copy(self)  # what it creates goes with it
        with own_random_state(self.device, self.recipe.train.seed), unchanged_weights(self._given_model):
            size, note = choose_batch_size(self.recipe, len(self.train_dataset), self.device, trial._trial_steps)
        del trial
        release_memory()
        self.recipe = with_batch_size(self.recipe, size)
        return [note]

    def _trial_steps(self, size: int) -> None:
        """Make two steps with `size` copies of a training image; what they need is created by the first call."""
        self.recipe = with_batch_size(self.recipe, size)
        self.plan = make_plan(self.recipe.train, len(self.train_dataset))
        if not hasattr(self, "meter"):
            self.recipe, _ = with_class_weights(self.recipe, self.train_dataset, self.folder)
            self._create_parts()
            self._forward, self._backward = self.network, self.backward
            self.meter = Meter(self.device, self.plan.log_every, hint=str)
        sample = self.train_dataset[SampleKey(0, 0)]
        images, targets = (
            sample[name].as_subclass(Tensor).to(self.device).expand(size, *sample[name].shape).contiguous()
            for name in ("image", "mask")
        )
        for _ in range(2):  # the second one has the optimizer's state in memory from its start
            self.train_step(images, targets)
            self.optimizer_step()

    def _create_backward(self) -> Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]:
        compile = self.recipe.train.compile
        if compile == "none":
            return self.backward
        problem = no_graph_because(self.model, self.recipe.train, self.device)
        if problem and compile == "graphs":
            raise TrainingError(f"train.compile=graphs: {problem}; use train.compile=none or inductor")
        return self.backward if problem else GraphedStep(self.backward, self.model, required=compile == "graphs")

    def _create_checkpoints(self) -> Checkpoints:
        return Checkpoints(
            self.folder,
            recipe=self.recipe,
            image_ids=self.train_dataset.ids,
            classes=self.train_dataset.benchmark.classes,
            contents=on_main(lambda: fingerprint(self.train_dataset)),
            strategy=self.strategy,
            model=self.model,
            average=self.average,
            optimizer=self.optimizer,
            schedule=self.schedule,
            scaler=self.scaler,
        )

    def _restore_position(self) -> list[str]:
        """Take from the history of a resumed run what the checkpoint does not hold; return what the log should say."""
        history = self.state.history
        self.started_from = self.started_from or start_of(history)
        if self.state.iteration < self.plan.iterations:
            self.stop_reason = no_improvement(self.recipe.train.early_stopping, history)
        stretched = stretch(self.schedule, self.optimizer, self.plan, history)
        return [*start_notes(self.recipe, history), *([stretched] if stretched else [])]

    def _start_loggers(self, states: dict[str, dict[str, object]], notes: list[str]) -> None:
        iteration, history = self.state.iteration, self.state.history
        record = start_record(
            self.recipe,
            self.model,
            self.plan,
            start=iteration,
            images=len(self.train_dataset),
            device=self.device,
            started_from=None if iteration else self.started_from,
            notes=notes,
        )
        if self.stop_reason is not None:
            record = {**record, "event": "complete", "reason": self.stop_reason}
        elif iteration >= self.plan.iterations:
            record = {**record, "event": "complete"}
        else:
            self.state = self.state.with_record(record)
        for name, logger in self.loggers.items():
            logger.start(RunInfo(self.folder, self.recipe, self.plan, record, history), states.get(name, {}))

    def _finish_loggers(self, error: BaseException | None) -> None:
        for logger in self.loggers.values():
            logger.finish(error)

    def _progress_bar(self) -> ProgressBar:
        batch = self.recipe.train.images_per_step
        return ProgressBar("train", total=self.plan.iterations * batch, done=self.state.iteration * batch)

    def _with_metrics(self, evaluation: Evaluation | None) -> Segmentor:
        """Return `eval_model` with the figures of an evaluation, if any, on its card."""
        model = self.strategy.evaluation_model(self.eval_model)
        metrics = {} if evaluation is None else {name: getattr(evaluation, name) for name in EVALUATED}
        card = model.card or make_card(self.recipe, self.train_dataset.benchmark)
        card = with_threshold(with_origin(card, self.started_from), self.state.history)
        model.card = replace(card, metrics=metrics)
        return model

    def _log_pictures(self) -> None:
        wanting = [logger for logger in self.loggers.values() if logger.wants_pictures]
        if on_main(lambda: bool(wanting)):
            model = self.strategy.evaluation_model(self.eval_model)
        if wanting:
            pictures = sample_pictures(model, self.eval_dataset, self.recipe.evaluation, self.device)
            for logger in wanting:
                logger.pictures(self.state.iteration, pictures)
