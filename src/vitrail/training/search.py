"""Hyper-parameter search with Optuna: trainings with other values of some keys, the poor ones ended early.

T. Akiba, S. Sano, T. Yanase, T. Ohta and M. Koyama, "Optuna: A Next-generation Hyperparameter Optimization Framework",
KDD 2019, arXiv:1907.10902.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vitrail.errors import TrainingError
from vitrail.evaluation.result import Evaluation
from vitrail.files.text_table import aligned
from vitrail.recipes import Recipe, override_recipe
from vitrail.runtime.distributed import local_rank
from vitrail.training.folder import locked
from vitrail.training.loop import TrainingRun
from vitrail.training.search_space import Space, as_overrides, check_space, read_space
from vitrail.training.setup import training_recipe

STORAGE = "search.journal"
STARTUP_TRIALS = 5  # before trials are ended early
_FOLDER, _WHY = "folder", "why"  # attributes of trials


@dataclass(frozen=True)
class Trial:
    """One training of a search.

    Attributes
    ----------
    number : int
        Counted from 0.
    state : {"complete", "pruned", "failed"}
        Pruned: ended early, being worse than the median of the others at the same iteration.
    miou : float or None
        The best mIoU; None for a trial that failed.
    overrides : tuple of str
        Its changes to the recipe.
    folder : str
        The folder of its run, within that of the search.
    why : str
        Why it failed, or where it was pruned.
    """

    number: int
    state: str
    miou: float | None
    overrides: tuple[str, ...]
    folder: str
    why: str = ""


@dataclass(frozen=True)
class SearchResult:
    """The trials of a search.

    Attributes
    ----------
    trials : tuple of Trial
        In their order.
    """

    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The trial with the highest mIoU among those that were complete.

        Raises
        ------
        TrainingError
            When none was.
        """
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.miou is not None]
        if not complete:
            reason = next((f": {trial.why}" for trial in self.trials if trial.why), "")
            raise TrainingError(f"no trial of the search was complete{reason}")
        return max(complete, key=lambda trial: trial.miou or 0.0)

    def table(self) -> str:
        """Return the trials, the best first."""
        ranked = sorted(self.trials, key=lambda trial: -1.0 if trial.miou is None else trial.miou, reverse=True)
        cells = [("trial", "state", "best mIoU", "overrides")]
        for trial in ranked:
            miou = "–" if trial.miou is None else f"{100 * trial.miou:.2f}"
            cells.append((str(trial.number), trial.state, miou, " ".join(trial.overrides)))
        return "\n".join(aligned(cells))


def search(
    recipe: Recipe | str | Path,
    space: Space | str | Path,
    *,
    trials: int,
    output_dir: str | Path,
    overrides: Sequence[str] = (),
    data_root: str | Path | None = None,
    start_from: str | Path | None = None,
    device: str | torch.device | None = None,
) -> SearchResult:
    """Search the values of some keys of a recipe with which a training reaches the highest mIoU.

    Each trial is a training of its own, in a folder `trial-000`, `trial-001`, … The values are suggested by Optuna's
    tree-structured Parzen estimator; after five trials, those are ended early whose mIoU is below the median of the
    others at the same iteration, which needs several evaluations in a run (`train.eval_every`). A search that was
    interrupted goes on with the same call: the training that was interrupted is resumed.

    Parameters
    ----------
    recipe, overrides, data_root, start_from, device
        As `vitrail.train` takes them.
    space : mapping, str or Path
        From keys of the recipe to `Range` or `Choice`, or a YAML file; see `read_space`.
    trials : int
        The number of trials of the search, those before an interruption included.
    output_dir : str or Path
        A folder for the search and the runs of its trials.

    Raises
    ------
    TrainingError
        Without Optuna, in several processes, for a folder that holds another search, or when no trial is complete.
    VitrailError
        As `vitrail.train` does, for what is not the fault of a trial's values.

    Examples
    --------
    >>> result = search("fastscnn_finetune", "space.yaml", trials=20, output_dir="runs/search", data_root="bees")
    >>> result.best.overrides
    """
    if local_rank() is not None:
        raise TrainingError("a search runs in one process: leave torchrun out, and train the best with it")
    if trials < 1:
        raise TrainingError(f"a search of {trials} trials: at least 1")
    resolved = training_recipe(recipe, overrides, data_root, start_from)
    found = read_space(Path(space)) if isinstance(space, str | Path) else space
    check_space(found, resolved)
    folder = Path(output_dir)
    with locked(folder):
        study = _Study(folder, resolved, found)
        study.resume_interrupted()
        while study.count() < trials:
            study.run_trial(device)
        return SearchResult(study.trials())


class _Study:
    """Optuna's study in a file, and the trainings of its trials."""

    def __init__(self, folder: Path, recipe: Recipe, space: Space) -> None:
        try:
            import optuna
            from optuna.storages.journal import JournalFileBackend
        except ImportError as error:
            raise TrainingError(f"a search needs optuna ({error}): pip install 'vitrail[search]'") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._folder, self._recipe, self._space = folder, recipe, space
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / STORAGE)))
        self._study = optuna.create_study(
            storage=storage, study_name="vitrail", direction="maximize", load_if_exists=True
        )
        # A sampler that started anew with the same seed after an interruption would repeat what it suggested before.
        self._study.sampler = optuna.samplers.TPESampler(seed=recipe.train.seed % 2**31 + len(self._study.trials))
        self._study.pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
        self._check_same()

    def _check_same(self) -> None:
        recipe = self._recipe.model_dump(mode="json")
        recipe["data"].update(root=None, workers=None)
        about = {"recipe": recipe, "space": repr(sorted(self._space.items()))}
        for key, value in about.items():
            known = self._study.user_attrs.get(key)
            if known is None:
                self._study.set_user_attr(key, value)
            elif known != value:
                raise TrainingError(
                    f"{self._folder} holds a search with another {key}: take another folder, or the {key} of that one"
                )

    def resume_interrupted(self) -> None:
        """Put trainings that were interrupted at the head of the queue: this process alone holds the folder."""
        states = self._optuna.trial.TrialState
        for trial in self._study.get_trials(states=(states.RUNNING,)):
            self._study.tell(trial.number, state=states.FAIL)
            name = trial.user_attrs.get(_FOLDER, _folder_name(trial.number))
            self._study.enqueue_trial(trial.params, user_attrs={_FOLDER: name})

    def count(self) -> int:
        """Return the number of trials that have an outcome."""
        return len(self.trials())

    def trials(self) -> tuple[Trial, ...]:
        """Return the trials that have an outcome."""
        states = self._optuna.trial.TrialState
        names = {states.COMPLETE: "complete", states.PRUNED: "pruned", states.FAIL: "failed"}
        return tuple(
            Trial(
                trial.number,
                names[trial.state],
                trial.value if trial.value is not None else max(trial.intermediate_values.values(), default=None),
                tuple(trial.user_attrs.get("overrides", ())),
                trial.user_attrs.get(_FOLDER, _folder_name(trial.number)),
                trial.user_attrs.get(_WHY, ""),
            )
            for trial in self._study.get_trials(states=tuple(names))
            if trial.state != states.FAIL or _WHY in trial.user_attrs  # others were interrupted
        )

    def run_trial(self, device: str | torch.device | None) -> None:
        """Train with values that Optuna suggests, and tell it the outcome."""
        states, trial = self._optuna.trial.TrialState, self._study.ask()
        values = {key: parameter.suggest(trial, key) for key, parameter in self._space.items()}
        changes = as_overrides(values)
        trial.set_user_attr("overrides", changes)
        name = trial.user_attrs.get(_FOLDER, _folder_name(trial.number))
        trial.set_user_attr(_FOLDER, name)
        try:
            run = _TrialRun(override_recipe(self._recipe, changes), self._folder / name, device, trial)
            run.run()
        except TrainingError as error:  # such as a loss that is not finite at a high rate
            trial.set_user_attr(_WHY, str(error))
            self._study.tell(trial, state=states.FAIL)
            return
        if run.pruned is not None:
            trial.set_user_attr(_WHY, run.pruned)
            self._study.tell(trial, state=states.PRUNED)
        else:
            self._study.tell(trial, max(run.state.best, 0.0))


def _folder_name(number: int) -> str:
    return f"trial-{number:03d}"


class _TrialRun(TrainingRun):
    """A training that reports every evaluation to Optuna, and ends where that says so."""

    def __init__(self, recipe: Recipe, folder: Path, device: str | torch.device | None, trial: Any) -> None:
        super().__init__(recipe, output_dir=folder, resume="auto", device=device)
        self._trial = trial
        self.pruned: str | None = None

    def setup(self) -> None:
        """Create everything that training needs, and report the evaluations of a run that is resumed."""
        super().setup()
        best = 0.0
        for record in self.state.history:
            if record["event"] == "evaluation" and record["miou"] is not None:
                best = max(best, record["miou"])
                self._trial.report(best, step=record["iteration"])

    def evaluate_and_log(self) -> Evaluation:
        """Evaluate, and report the best mIoU so far."""
        evaluation = super().evaluate_and_log()
        if self.state.best >= 0:
            self._trial.report(self.state.best, step=self.state.iteration)
        return evaluation

    def reason_to_stop(self, *, out_of_time: bool) -> str | None:
        """Return why the run ends now; one that is worse than the median of the others does."""
        reason = super().reason_to_stop(out_of_time=out_of_time)
        if reason is None and self.plan.evaluates(self.state.iteration) and self._trial.should_prune():
            reason = f"pruned at iteration {self.state.iteration}: below the median of the other trials"
            self.pruned = reason
        return reason
