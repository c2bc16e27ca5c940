"""MLflow: curves, sample predictions and the recipe."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from vitrail.errors import TrainingError
from vitrail.training.flatten import flatten
from vitrail.training.loggers.logger import Logger, Picture, RunInfo, missing_library, register_logger
from vitrail.training.records import Record, scalars

_MAX_PARAMS = 100  # in one request
_MAX_VALUE = 500  # characters of a parameter that every version of MLflow stores


@register_logger("mlflow")
class MLflowLogger(Logger):
    """Logs to an MLflow tracking server or folder; a resumed run goes on with the same run id.

    Parameters
    ----------
    tracking_uri : str, optional
        Address of the server, or of a local store such as "sqlite:///mlflow.db" or "file:./mlruns"; None takes the
        variable MLFLOW_TRACKING_URI, or MLflow's own default.
    experiment : str
        Name of the experiment, created when there is none.
    name : str, optional
        Name of the run; None takes the name of the output folder.

    Raises
    ------
    TrainingError
        When MLflow is not installed.
    """

    wants_pictures: ClassVar[bool] = True

    def __init__(
        self, *, tracking_uri: str | None = None, experiment: str = "vitrail", name: str | None = None
    ) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise missing_library("mlflow", "MLflow", error) from error
        self._mlflow = mlflow
        self._uri = tracking_uri
        self._experiment = experiment
        self._name = name
        self._client: Any = None
        self._id = ""

    def start(self, run: RunInfo, state: Mapping[str, Any]) -> None:
        """Start the run with the recipe as its parameters, or go on with it.

        Raises
        ------
        TrainingError
            When the server or the folder cannot be used; so do the methods below.
        """
        with self._errors():
            self._client = self._mlflow.MlflowClient(tracking_uri=self._uri)
            if "id" in state:
                self._id = state["id"]
                self._client.update_run(self._id, status="RUNNING")
                return
            experiment = self._client.get_experiment_by_name(self._experiment)
            number = experiment.experiment_id if experiment else self._client.create_experiment(self._experiment)
            name = self._name or run.folder.resolve().name
            self._id = self._client.create_run(number, run_name=name).info.run_id
            recipe = run.recipe.model_dump(mode="json")
            self._client.log_dict(self._id, recipe, "recipe.json")
            pairs = flatten(recipe).items()
            params = [self._mlflow.entities.Param(_key(key), str(value)[:_MAX_VALUE]) for key, value in pairs]
            for first in range(0, len(params), _MAX_PARAMS):
                self._client.log_batch(self._id, params=params[first : first + _MAX_PARAMS])

    def train(self, record: Record) -> None:
        """Log the figures of a record."""
        now, step = int(time.time() * 1000), record["iteration"]
        metrics = [self._mlflow.entities.Metric(_key(name), value, now, step) for name, value in scalars(record)]
        with self._errors():
            for first in range(0, len(metrics), 1000):
                self._client.log_batch(self._id, metrics=metrics[first : first + 1000])

    def evaluation(self, record: Record) -> None:
        """Log the figures of a record."""
        self.train(record)

    def pictures(self, iteration: int, pictures: Sequence[Picture]) -> None:
        """Log predictions."""
        with self._errors():
            for picture in pictures:
                key = _key(f"prediction/{picture.name}")
                self._client.log_image(self._id, picture.image, key=key, step=iteration)

    def state(self) -> dict[str, Any]:
        """Return the run id."""
        return {"id": self._id}

    def finish(self, error: BaseException | None) -> None:
        """End the run, as failed or killed when there was an error."""
        if not self._id:
            return
        status = "FINISHED" if error is None else "FAILED" if isinstance(error, Exception) else "KILLED"
        with self._errors():
            self._client.set_terminated(self._id, status=status)

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return _explained(self._mlflow.exceptions.MlflowException)


@contextlib.contextmanager
def _explained(kind: type[Exception]) -> Iterator[None]:
    """Turn MLflow's errors into TrainingError."""
    try:
        yield
    except kind as error:
        raise TrainingError(
            f"MLflow cannot log the run: {error}. Check the logger's tracking_uri, or take mlflow out of "
            "train.loggers and resume"
        ) from error


def _key(name: str) -> str:
    """Return a name with only those characters that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", name)
