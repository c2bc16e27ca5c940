"""The models of a service: loaded once, each under a name."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from vitrail.errors import PredictionError, ServiceError
from vitrail.inference import Predictor
from vitrail.inference.predictor import PredictorOptions
from vitrail.segmentors import ModelCard

DEFAULT_BATCH = 8
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class ServedModel:
    """A model under the name that requests choose it by.

    Parameters
    ----------
    name : str
        Letters, digits, ".", "_" and "-".
    model : str or Path
        What `vitrail.load` takes.
    **options
        The keyword arguments of `vitrail.Predictor` but `scores`; `batch_size` is 8 if not given.

    Attributes
    ----------
    plain : Predictor
        Predicts without probabilities.
    scoring : Predictor or None
        Predicts with them; None for an exported file that has none.

    Raises
    ------
    VitrailError
        When the name is not as above, or the model cannot be loaded or is not one of RGB pictures.
    """

    def __init__(self, name: str, model: str | Path, **options: Unpack[PredictorOptions]) -> None:
        if not _NAME.fullmatch(name):
            raise ServiceError(f"a model cannot be served as {name!r}: use letters, digits, '.', '_' and '-'")
        options.setdefault("batch_size", DEFAULT_BATCH)
        self.name = name
        self.plain = Predictor(model, **options)
        if self.plain.pixel_format.channels != 3:
            raise ServiceError(
                f"{model} takes images of {self.plain.pixel_format.channels} channels: the service takes RGB pictures"
            )
        self.scoring = _with_scores(self.plain, options)

    @property
    def card(self) -> ModelCard:
        """The model's classes, colours and origin."""
        card = self.plain.model.card
        if card is None:
            raise ServiceError(f"the model {self.name} has no card, so its classes are unknown: set model.card")
        return card

    def to_dict(self) -> dict[str, Any]:
        """Return what a client needs to know as JSON-ready data."""
        return {
            "name": self.name,
            "classes": list(self.card.classes),
            "palette": [list(colour) for colour in self.card.palette],
            "license": self.card.license,
            "source": self.card.source,
            "metrics": self.card.metrics,
            "probabilities": self.scoring is not None,
        }


def _with_scores(plain: Predictor, options: PredictorOptions) -> Predictor | None:
    """Return a predictor of the same model that gives probabilities, or None where the model has none."""
    try:
        with_scores = options.copy()
        with_scores["scores"] = True
        return Predictor(plain.model, **with_scores)
    except PredictionError:
        return None


def load_models(models: Sequence[str], **options: Unpack[PredictorOptions]) -> list[ServedModel]:
    """Load the models of a service, in a thread that ends with it.

    Every thread that computes with PyTorch on the CPU keeps OpenMP threads of its own until it ends. When there are
    more of them than processors, they sleep where they would wait actively for each other, and a small model takes up
    to a third longer. So the thread that runs the models has to be the only one with such threads.

    Parameters
    ----------
    models : sequence of str
        What `vitrail.load` takes, or NAME=MODEL. Without a name a file has that of the file without its suffix.
    **options
        As in `ServedModel`.

    Raises
    ------
    VitrailError
        When a model cannot be loaded, or two have one name.
    """
    loaded: Future[list[ServedModel]] = Future()

    def load() -> None:
        try:
            loaded.set_result([ServedModel(name, model, **options) for name, model in named_models(models).items()])
        except BaseException as error:  # it is raised where the models are waited for
            loaded.set_exception(error)

    thread = threading.Thread(target=load, name="vitrail load", daemon=True)  # Ctrl+C does not wait for a download
    thread.start()
    result = loaded.result()
    thread.join()
    return result


def named_models(models: Sequence[str]) -> dict[str, str]:
    """Return what the models of a service are loaded from, by their names, with models as `load_models` takes them.

    Raises
    ------
    ServiceError
        When there is none, or two have one name.
    """
    if not models:
        raise ServiceError("no models: name at least one")
    found: dict[str, str] = {}
    for name, model in map(_named, models):
        if name in found:
            raise ServiceError(f"two models would have the name {name}: give them names, such as a={found[name]}")
        found[name] = model
    return found


def _named(model: str) -> tuple[str, str]:
    name, equals, rest = model.partition("=")
    if equals and not Path(model).exists():
        return name, rest
    tail = Path(model).name
    return tail.rpartition(".")[0] if Path(model).is_file() and "." in tail else tail, model
