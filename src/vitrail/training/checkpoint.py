"""What a run leaves on the disk: models that anyone can use, and the state from which the run can go on exactly."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from vitrail.checkpoints import save_model
from vitrail.errors import CheckpointError, TrainingError
from vitrail.files.atomic import atomic_path
from vitrail.recipes import Recipe, recipe_from_dict
from vitrail.runtime.distributed import gather_objects, on_main, rank
from vitrail.segmentors import Segmentor
from vitrail.training.ema import WeightAverage

FORMAT = 1
LAST, BEST, STATE = "last.safetensors", "best.safetensors", "last.state.pt"

# What may differ between a run and its continuation: nothing here changes what a step does to the weights, except
# that the length of the run stretches the learning-rate schedule over the iterations that are left.
MAY_CHANGE = (
    "name",
    "description",
    "reference",
    "model.pretrained",
    "data.root",
    "data.workers",
    "data.eval_split",
    "data.eval_resize",
    "train.epochs",
    "train.iterations",
    "train.log_every",
    "train.eval_every",
    "train.save_every",
    "train.tensorboard",
    "evaluation",
)


@dataclass
class Position:
    """How far a run has come.

    Attributes
    ----------
    iteration : int
        Optimizer steps taken.
    best : float
        The best mIoU so far, a fraction; -1 before the first evaluation.
    history : list of dict
        The records of `log.jsonl`, oldest first.
    """

    iteration: int = 0
    best: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)


def check_output_dir(folder: Path, *, resume: bool) -> None:
    """Raise TrainingError when there is nothing to resume in `folder`, or something that a new run would overwrite."""
    if resume and not (folder / STATE).is_file():
        raise TrainingError(f"nothing to resume in {folder}: there is no {STATE}")
    if not resume:
        taken = [name for name in (STATE, LAST, BEST) if (folder / name).exists()]
        if taken:
            advice = "go on with it (resume=True, --resume)" if STATE in taken else "remove what is there"
            raise TrainingError(
                f"{folder} already holds a run ({', '.join(taken)}): {advice}, or choose another folder"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*.part"):  # of a process that was killed while it wrote
            leftover.unlink()
    except OSError as error:
        raise TrainingError(f"cannot write to the output folder {folder}: {error}") from error


class Checkpoints:
    """Saves and restores everything that a run consists of.

    `last.state.pt` alone decides where a run goes on: it holds all of the state, tensors and plain data only, and one
    rename puts it in place. `last.safetensors` (and `best.safetensors`) are the model for use: the averaged weights
    where there is an average. A run that dies between the two writes continues from the older state, and overwrites
    the newer model when it comes there again.

    Parameters
    ----------
    folder : Path
        The output folder.
    recipe : Recipe
        The run's recipe; a state of another recipe is not restored.
    image_ids : list of str
        Of the training images; a state of other images is not restored.
    model : Segmentor
        The model that is trained, bare.
    average : WeightAverage or None
        The moving average of its weights.
    optimizer, schedule, scaler
        As the loop uses them.
    device : torch.device
        The device of this process.
    """

    def __init__(
        self,
        folder: Path,
        *,
        recipe: Recipe,
        image_ids: list[str],
        model: Segmentor,
        average: WeightAverage | None,
        optimizer: Optimizer,
        schedule: LRScheduler,
        scaler: GradScaler,
        device: torch.device,
    ) -> None:
        self.last = folder / LAST
        self.best = folder / BEST
        self.state = folder / STATE
        self._recipe = recipe
        self._images = hashlib.sha256("\n".join(image_ids).encode()).hexdigest()
        self._parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule, "scaler": scaler}
        if average is not None:
            self._parts["average"] = average
        self._model = model
        self._device = device
        self._saved: int | None = None

    def save(self, position: Position, product: Segmentor, metrics: Mapping[str, float]) -> None:
        """Save the run as it stands; every process calls this.

        Parameters
        ----------
        position : Position
            How far the run has come.
        product : Segmentor
            The model for use: the average where there is one.
        metrics : mapping from str to float
            Figures of `product`, for its card.

        Raises
        ------
        TrainingError
            When the weights are not finite or the disk is full; the last good checkpoint is then still there.
        """
        self._check_finite(position.iteration)
        random = gather_objects(_random_state(self._device))
        state = {
            "format": FORMAT,
            "recipe": self._recipe.model_dump(mode="json"),
            "images": self._images,
            "iteration": position.iteration,
            "best": position.best,
            "history": position.history,
            "random": random,
            **{name: part.state_dict() for name, part in self._parts.items()},
        }

        def write() -> None:
            try:
                _save_product(product, self.last, metrics)
                with atomic_path(self.state) as temporary, temporary.open("wb") as file:
                    torch.save(state, file)
            except (OSError, RuntimeError, CheckpointError) as error:  # torch reports a full disk as a RuntimeError
                raise TrainingError(self._advice(f"cannot save iteration {position.iteration}", error)) from error

        on_main(write)
        self._saved = position.iteration

    def save_best(self, iteration: int, product: Segmentor, metrics: Mapping[str, float]) -> None:
        """Save the best model so far; every process calls this. Raises as `save` does."""
        self._check_finite(iteration)

        def write() -> None:
            try:
                _save_product(product, self.best, metrics)
            except (OSError, CheckpointError) as error:
                raise TrainingError(
                    self._advice(f"cannot save the best model, of iteration {iteration}", error)
                ) from error

        on_main(write)

    def restore(self) -> Position:
        """Put everything back as it was when the run was last saved, and return how far it had come.

        Raises
        ------
        CheckpointError
            When the state is damaged.
        TrainingError
            When it belongs to another recipe or other images.
        """
        state = _read_state(self.state)
        self._check_same_run(state)
        try:
            for name, part in self._parts.items():
                part.load_state_dict(state[name])
            position = Position(state["iteration"], state["best"], state["history"])
            _set_random_state(state["random"], self._device)
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{self.state} does not fit this run: {error}") from error
        self._saved = position.iteration
        return position

    def describe_last(self) -> str:
        """Say which checkpoint can be resumed, for messages."""
        if self._saved is None:
            return "no checkpoint had been saved yet"
        return f"the last good checkpoint, of iteration {self._saved}, is in {self.last.parent}"

    def _advice(self, what: str, error: Exception) -> str:
        then = "start again" if self._saved is None else "resume"
        return f"{what} in {self.last.parent}: {_reason(error)}; {self.describe_last()}: make room and {then}"

    def _check_finite(self, iteration: int) -> None:
        if not weights_are_finite(self._model):
            raise TrainingError(
                f"the weights are no longer finite after iteration {iteration}, and were not saved; "
                f"{self.describe_last()}"
            )

    def _check_same_run(self, state: dict[str, Any]) -> None:
        before = _flat(recipe_from_dict(state["recipe"]).model_dump(mode="json"))
        now = _flat(self._recipe.model_dump(mode="json"))
        keys = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key) and not _may_change(key)]
        if keys:
            differing = "; ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in keys)
            raise TrainingError(
                f"cannot resume {self.last.parent} with another recipe: {differing}. "
                "Use the recipe of the run, or start a new run in another folder"
            )
        if state["images"] != self._images:
            raise TrainingError(
                f"cannot resume {self.last.parent}: the training images are not those that the run began with"
            )


def weights_are_finite(model: nn.Module) -> bool:
    """Say whether no weight or buffer is infinite or not a number."""
    tensors = [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())


def _reason(error: BaseException) -> str:
    """Say why a file could not be written: torch puts an error of its own on top of the system's."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return str(error if cause is None else cause)


def _save_product(product: Segmentor, path: Path, metrics: Mapping[str, float]) -> None:
    if product.card is None:
        raise RuntimeError("a model needs a card before it is saved")
    product.card = replace(product.card, metrics=dict(metrics))
    save_model(product, path)


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} is damaged or no training state: {error}") from error
    if not isinstance(state, dict) or not {"format", "recipe", "images", "iteration", "random"} <= state.keys():
        raise CheckpointError(f"{path} is no training state of vitrail")
    if state["format"] > FORMAT:
        raise CheckpointError(f"{path} was written by a newer vitrail: upgrade vitrail")
    return state


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


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _may_change(key: str) -> bool:
    return any(key == allowed or key.startswith(f"{allowed}.") for allowed in MAY_CHANGE)
