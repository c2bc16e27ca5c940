"""Models of an open vocabulary for the names of their classes: the tensors that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from vitrail.checkpoints.complete import section_of
from vitrail.checkpoints.sources.renaming import State
from vitrail.errors import CheckpointError, ModelError
from vitrail.segmentors import SEGMENTORS, ModelCard
from vitrail.visualize.palette import distinct_colours

_HEAD = "head."


def is_open_vocabulary(card: ModelCard) -> bool:
    """Return whether the classes of a model are names that others can take the place of."""
    return SEGMENTORS[card.recipe["model"]["segmentor"]].head.open_vocabulary


def with_classes(card: ModelCard, classes: Sequence[str]) -> ModelCard:
    """Return the card of a model with other classes, of which no figure is known."""
    one_output = card.recipe["model"].get("num_classes") == 1 and len(classes) == 2
    model = {**card.recipe["model"], "num_classes": 1 if one_output else len(classes)}
    data = {**card.recipe["data"], "dataset": "folder"}
    return replace(
        card,
        classes=tuple(classes),
        palette=distinct_colours(len(classes)),
        recipe={**card.recipe, "model": model, "data": data},
        metrics={},
    )


def name_classes(
    card: ModelCard,
    state: State,
    where: str,
    *,
    classes: Sequence[str] | None = None,
    vocabulary: str | Path | None = None,
) -> tuple[ModelCard, State]:
    """Return the card and the weights of a model for these classes, or for its own where weights that follow from
    their names are missing; other models are returned as they are.

    Parameters
    ----------
    card : ModelCard
        Of the model.
    state : mapping from str to Tensor
        Its weights under our names.
    where : str
        The file, for messages.
    classes : sequence of str, optional
        The names of its classes.
    vocabulary : str or Path, optional
        CLIP's list of merges, for names with words whose tokens do not come with vitrail.

    Raises
    ------
    CheckpointError
        For classes of a model whose classes are fixed, and names that cannot be encoded.
    """
    section = section_of(card, where)
    head = SEGMENTORS[section.segmentor].head
    if not head.open_vocabulary:
        if classes is None and vocabulary is None:
            return card, state
        raise CheckpointError(
            f"{where} is a model of {section.segmentor}, whose classes are fixed by its training: classes=… without "
            "like=…, and vocabulary=…, are for models of an open vocabulary, such as SAN; train it for others "
            "(--from on the command line)"
        )
    if classes is not None:
        _check_distinct(classes, where)
        card = with_classes(card, classes)
    own = {name.removeprefix(_HEAD): value for name, value in state.items() if name.startswith(_HEAD)}
    if classes is None and not head.lacks_class_tensors(own):
        if vocabulary is not None:
            raise CheckpointError(f"{where} needs no vocabulary for the classes that it has: leave it out")
        return card, state
    try:
        made = head.class_tensors(own, card.classes, section.options, vocabulary)
    except ModelError as error:
        raise CheckpointError(f"{where}: {error}") from error
    return card, {**state, **{f"{_HEAD}{name}": value for name, value in made.items()}}


def checked_classes(classes: Iterable[str]) -> tuple[str, ...]:
    """Return the names of classes that the user gives.

    Raises
    ------
    CheckpointError
        For a single text, no names, empty ones, and one that is given twice.
    """
    names = () if isinstance(classes, str) else tuple(classes)
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise CheckpointError("classes are a list of the names of one class or more, none of them empty")
    if len(set(names)) < len(names):
        raise CheckpointError("a class is named twice: each class needs a name of its own")
    return names


def _check_distinct(classes: Sequence[str], where: str) -> None:
    """Check that no two names are one for the text encoder, which knows neither capitals nor the number of spaces."""
    seen: dict[str, str] = {}
    for name in classes:
        other = seen.setdefault(" ".join(name.lower().split()), name)
        if other is not name:
            raise CheckpointError(f"{where} makes the same of the classes {other!r} and {name!r}: take other names")
