"""Checkpoints: the best and last model, and the state from which a run is resumed exactly."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from vitrail.checkpoints import save_model
from vitrail.checkpoints.native import BEST
from vitrail.errors import CheckpointError, RecipeError, TrainingError, VitrailError
from vitrail.files.atomic import atomic_path
from vitrail.layers.processes import held_part, sum_over_processes
from vitrail.recipes import Recipe, recipe_from_dict
from vitrail.runtime.distributed import Strategy, gather_objects, is_main, on_main, rank
from vitrail.segmentors import SEGMENTORS, Segmentor
from vitrail.training.ema import WeightAverage
from vitrail.training.flatten import flatten
from vitrail.training.folder import (
    LAST,
    STATE,
    UNSAVED,
    keep_previous,
    other_place,
    owner,
    way_out_of_damage,
)
from vitrail.training.loggers import Logger
from vitrail.training.saved_state import STATE_FORMAT, check_alike, check_attributes, read_state
from vitrail.training.sharded_state import SHARDS, PendingSave, layouts, put_tensors, remove_shards, take_tensors
from vitrail.training.state import RunState

# What may differ when a run is resumed: nothing here changes what a step does to the weights, except that the length of
# the run gives the learning-rate schedule that length (`vitrail.training.notes.stretch` says so in the log), and that a
# teacher and the `Head.file_options` of the method, whose files may have moved, may be other ones.
MAY_CHANGE = (
    "name",
    "description",
    "reference",
    "model.pretrained",
    "data.root",
    "data.workers",
    "data.cache",
    "data.eval_split",
    "data.eval_resize",
    "train.start_from",
    "train.teacher",
    "train.max_minutes",
    "train.early_stopping",
    "train.epochs",
    "train.iterations",
    "train.log_every",
    "train.eval_every",
    "train.save_every",
    "train.loggers",
    "train.strategy",
    "evaluation",
)


class Checkpoints:
    """Saves and restores everything that a run consists of.

    `last.state.pt` alone determines where a resumed run starts: it holds all of the state, tensors and plain data only,
    and one rename puts it in place. Where the processes hold shards of the tensors, each writes its own to a new folder
    in `shards` first, which the state names. `last.safetensors` (and `best.safetensors`) are the model for use: the
    averaged weights where there is an average. A run that dies between the two writes is resumed from the older state,
    and overwrites the newer model when it reaches that iteration again.

    Parameters
    ----------
    folder : Path
        The output folder.
    recipe : Recipe
        The run's recipe; a state of another recipe is not restored.
    image_ids : list of str
        Of the training images; a state of other images is not restored.
    classes : sequence of str
        Of the training data, in their order; a state of other classes is not restored.
    contents : mapping from str to str
        The fingerprint of the training data; a state of data that have changed is not restored.
    strategy : Strategy
        Gathers and distributes the state of model and optimizer.
    model : Segmentor
        The model that is trained, bare.
    average : WeightAverage or None
        The moving average of its weights.
    optimizer, schedule, scaler
        As the loop uses them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        recipe: Recipe,
        image_ids: list[str],
        classes: Sequence[str],
        contents: Mapping[str, str],
        strategy: Strategy,
        model: Segmentor,
        average: WeightAverage | None,
        optimizer: Optimizer,
        schedule: LRScheduler,
        scaler: GradScaler,
    ) -> None:
        self._use(folder)
        self._owner = owner(folder)
        self._left: Path | None = None
        self._recipe = recipe
        self._images = hashlib.sha256("\n".join(image_ids).encode(errors="surrogateescape")).hexdigest()
        self._classes = list(classes)
        self._contents = dict(contents)
        self._strategy = strategy
        self._model = model
        self._average = average
        self._optimizer = optimizer
        self._schedule = schedule
        self._scaler = scaler
        self._saved: int | None = None
        self._shards: str | None = None  # those of the last state
        self._pending: tuple[int, PendingSave] | None = None

    def _use(self, folder: Path) -> None:
        self.last, self.best, self.state = folder / LAST, folder / BEST, folder / STATE

    def _stay_or_move(self) -> None:
        """Go on in another folder when this one was deleted, moved or taken by another run."""
        folder = self.last.parent
        if self._left is None and (not folder.exists() or owner(folder) != self._owner):
            self._left = folder
            self._use(other_place(folder))

    def _end_if_moved(self) -> None:
        if self._left is not None:
            raise TrainingError(
                f"{self._left} was deleted, moved or taken by another run while this run used it. The run was saved in "
                f"{self.last.parent}, without what it had written before: go on with it there (--resume), or move "
                "everything together again"
            )

    def save(self, state: RunState, eval_model: Segmentor, loggers: Mapping[str, Logger]) -> None:
        """Save the run; every process calls this. Where the state is in shards, it is still being written afterwards.

        Parameters
        ----------
        state : RunState
            How far the run has come.
        eval_model : Segmentor
            The model for use, with its card.
        loggers : mapping from str to Logger
            Their states are saved too; empty in all processes but rank 0.

        Raises
        ------
        TrainingError
            When the weights are not finite or the disk is full; the last good checkpoint is then still there. When the
            folder is no longer that of the run; the run is then saved elsewhere.
        """
        self.wait()
        self._check_finite(state.iteration)
        content = {
            "format": STATE_FORMAT,
            "recipe": self._recipe.model_dump(mode="json"),
            "images": self._images,
            "classes": self._classes,
            "contents": self._contents,
            "iteration": state.iteration,
            "best": state.best,
            "history": list(state.history),
            "loggers": {name: logger.state() for name, logger in loggers.items()},
            "random": gather_objects(_random_state(self._strategy.device)),
            "model": self._strategy.model_state(self._model),
            "optimizer": self._strategy.optimizer_state(self._model, self._optimizer),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
        }
        if self._average is not None:
            content["average"] = self._strategy.model_state(self._average)
        if self._strategy.shards:
            self._begin_save(content, eval_model)
        else:
            on_main(lambda: self._write(content, eval_model))
            self._saved = state.iteration

    def _write(self, content: Mapping[str, Any], eval_model: Segmentor) -> None:
        """Write the model for use, and then the state, which is the one that counts from here on."""
        try:
            self._stay_or_move()
            save_model(eval_model, self.last)
            with atomic_path(self.state) as temporary, temporary.open("wb") as file:
                torch.save(content, file)  # with a checksum of every tensor
                keep_previous(self.state.parent)
            (self.state.parent / UNSAVED).unlink(missing_ok=True)
        except (OSError, RuntimeError, CheckpointError) as error:  # torch reports a full disk as a RuntimeError
            raise TrainingError(self._advice(f"cannot save iteration {content['iteration']}", error)) from error
        remove_shards(self.state.parent, keep={content.get("shards"), self._shards})  # the last and the previous ones
        self._shards = content.get("shards")
        self._end_if_moved()

    def _begin_save(self, content: dict[str, Any], eval_model: Segmentor) -> None:
        """Begin to write the shards of all processes; `_write` follows, while the training goes on."""
        iteration = content["iteration"]
        tensors = take_tensors(content)
        folder = on_main(lambda: self._new_shards(iteration))
        content = copy.deepcopy({**content, "shards": folder.name})
        written = self._strategy.write_shards(tensors, folder)
        then = (lambda: self._write(content, eval_model)) if is_main() else None
        self._pending = iteration, PendingSave(folder, written, then)

    def _new_shards(self, iteration: int) -> Path:
        try:
            self._stay_or_move()
            folder = self.state.parent / SHARDS / f"{iteration}-{secrets.token_hex(4)}"
            folder.mkdir(parents=True)
        except OSError as error:
            raise TrainingError(self._advice(f"cannot save iteration {iteration}", error)) from error
        return folder

    def wait(self) -> None:
        """Wait until what `save` began is on the disk; every process calls this. Raises as `save` does."""
        if self._pending is None:
            return
        (iteration, pending), self._pending = self._pending, None
        error = pending.error()

        def check() -> None:
            if isinstance(error, VitrailError):
                raise error
            if error is not None:
                raise TrainingError(self._advice(f"cannot save iteration {iteration}", error)) from error

        on_main(check)
        self._saved = iteration

    def save_best(self, iteration: int, eval_model: Segmentor) -> None:
        """Save the best model so far; every process calls this. Raises as `save` does."""
        self.wait()
        self._check_finite(iteration)

        def write() -> None:
            try:
                self._stay_or_move()
                save_model(eval_model, self.best)
            except (OSError, CheckpointError) as error:
                raise TrainingError(
                    self._advice(f"cannot save the best model, of iteration {iteration}", error)
                ) from error

        on_main(write)

    def restore(self) -> tuple[RunState, dict[str, dict[str, Any]]]:
        """Restore the run as it was last saved.

        Returns
        -------
        RunState
            How far it had come.
        dict
            The states of its loggers, by name.

        Raises
        ------
        CheckpointError
            When the state is damaged.
        TrainingError
            When it belongs to another recipe, other classes or other images, or to images that have changed.
        """
        try:
            content = read_state(self.state)
            self._check_same_run(content)
            tensors = self._read_shards(content)
        except CheckpointError as error:
            raise CheckpointError(f"{error}. {way_out_of_damage(self.state.parent)}") from error
        try:
            put_tensors(content, tensors)
            self._strategy.load_model_state(self._model, content["model"])
            settings = [{**group, "params": None} for group in self._optimizer.param_groups]
            check_alike(content["optimizer"]["param_groups"], settings, "param_groups")
            self._strategy.load_optimizer_state(self._model, self._optimizer, content["optimizer"])
            check_attributes(content["schedule"], self._schedule, "schedule")
            self._schedule.load_state_dict(content["schedule"])
            check_alike(content["scaler"], self._scaler.state_dict(), "scaler")
            self._scaler.load_state_dict(content["scaler"])
            if self._average is not None:
                self._strategy.load_model_state(self._average, content["average"])
            state = RunState(content["iteration"], content["best"], tuple(content["history"]))
            _set_random_state(content["random"], self._strategy.device)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise self._does_not_fit(error) from error
        self._saved = state.iteration
        return state, content["loggers"]

    def _read_shards(self, content: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Return the tensors that are not in the state itself, each process its part of them where it holds a part."""
        self._shards = content.get("shards")
        if self._shards is None:
            return {}
        from vitrail.runtime.distributed.shards import read_shards  # half a second, for those who need it

        layout_of = layouts(self._model, self._average, self._optimizer)
        return read_shards(self.state.parent / SHARDS / self._shards, layout_of)

    @contextlib.contextmanager
    def first_use(self) -> Iterator[None]:
        """Context of the first step of the optimizer with what was restored: an error there is one of the state.

        What the optimizer knows of each parameter is its own affair, so that nothing else can check it.

        Raises
        ------
        CheckpointError
            In place of the error.
        """
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise self._does_not_fit(error) from error

    def _does_not_fit(self, error: Exception) -> CheckpointError:
        way_out = way_out_of_damage(self.state.parent)
        return CheckpointError(f"{self.state} does not fit this run: {str(error)[:500]}. {way_out}")

    def describe_last(self) -> str:
        """Return which checkpoint can be resumed, for messages."""
        if self._saved is None:
            return "no checkpoint had been saved yet"
        return f"the last good checkpoint, of iteration {self._saved}, is in {self.last.parent}"

    def _advice(self, what: str, error: BaseException) -> str:
        then = "start again" if self._saved is None else "resume"
        return f"{what} in {self.last.parent}: {_reason(error)}; {self.describe_last()}: make room and {then}"

    def _check_finite(self, iteration: int) -> None:
        if not weights_are_finite(self._model):
            raise TrainingError(
                f"the weights are no longer finite after iteration {iteration}, and were not saved; "
                f"{self.describe_last()}"
            )

    def _check_same_run(self, state: dict[str, Any]) -> None:
        before = flatten(_recipe_in(state, self.state.parent).model_dump(mode="json"))
        now = flatten(self._recipe.model_dump(mode="json"))
        files = [f"model.options.{name}" for name in SEGMENTORS[self._recipe.model.segmentor].head.file_options]
        allowed = (*MAY_CHANGE, *files)
        keys = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key) and not _is_in(key, allowed)]
        if keys:
            differing = "; ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in keys)
            raise TrainingError(
                f"cannot resume {self.last.parent} with another recipe: {differing}. "
                "Use the recipe of the run, or start a new run in another folder"
            )
        if state["classes"] != self._classes:
            raise TrainingError(
                f"cannot resume {self.last.parent}: the run began with the classes {', '.join(state['classes'])}, and "
                f"the data now have {', '.join(self._classes)}: restore the names and their order"
            )
        if state["images"] != self._images:
            raise TrainingError(
                f"cannot resume {self.last.parent}: the training images are not those that the run began with"
            )
        before, now = state["contents"], self._contents
        changed = [name for name in before if name in now and before[name] != now[name]]
        if changed:
            raise TrainingError(
                f"cannot resume {self.last.parent}: {changed[0]} and its mask are not what they were when the run "
                f"began ({len(changed)} of the {len(before)} images that were looked at have changed). Restore them, "
                f"or start a new run in another folder from the model of this one: --from {self.last} (start_from)"
            )


def saved_recipe(folder: Path) -> Recipe:
    """Return the recipe of the run that was saved in a folder.

    Raises
    ------
    CheckpointError
        When the state is damaged.
    """
    try:
        return _recipe_in(read_state(folder / STATE), folder)
    except CheckpointError as error:
        raise CheckpointError(f"{error}. {way_out_of_damage(folder)}") from error


def _recipe_in(state: Mapping[str, Any], folder: Path) -> Recipe:
    try:
        return recipe_from_dict(state["recipe"])
    except RecipeError as error:
        raise CheckpointError(f"{folder / STATE} does not hold a recipe: {error}") from error


def weights_are_finite(model: nn.Module) -> bool:
    """Return whether every weight and buffer is finite, those of other processes included."""
    tensors = [held_part(tensor) for tensor in model.state_dict().values() if tensor.is_floating_point()]
    finite = torch.stack([tensor.isfinite().all() for tensor in tensors]).all()
    return bool(sum_over_processes((~finite).float()) == 0)


def _reason(error: BaseException) -> str:
    """Return why a file could not be written: the system's error, which torch hides behind one of its own."""
    failures: Mapping[int, tuple[BaseException, Any]] = getattr(error, "failures", {})  # of the processes, by rank
    error = next((failure for failure, _ in failures.values()), error)
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return str(error if cause is None else cause)


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(states: list[dict[str, torch.Tensor]], device: torch.device) -> None:
    """Restore this process's state; a process that the run did not have before keeps its fresh one."""
    if rank() >= len(states):
        return
    state = states[rank()]
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def _is_in(key: str, sections: Iterable[str]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)
