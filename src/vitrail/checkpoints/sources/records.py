"""Records: how another project saves one method or one family of encoders; each is a file that is found by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from vitrail.checkpoints.complete import complete_section
from vitrail.checkpoints.sources.renaming import Renaming, combine, under
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.recipes import ModelConfig

Translate = TypeVar("Translate")
# A renaming, or how it follows from the model section of a recipe.
RenamingOf = Renaming | Callable[[ModelConfig], Renaming]


@dataclass(frozen=True)
class MethodRecord(Generic[Translate]):
    """A method as another project saves it.

    Attributes
    ----------
    type : str
        Its name there: of a class, or of several joined by "+".
    translate : callable
        From its configuration there to our options; the signature is the project's.
    renaming : Renaming or callable
        Of everything but the encoder.
    over : str
        The only encoder there that makes it this method, for methods that are the head of another one; empty for any.
    encoder : Renaming or None
        Of the encoder, where it is not that of the backbone's own record.
    inside : str
        Where the method's extended backbone holds the encoder that the backbone's record names; empty for itself.
    optimizer_keys : mapping from str to tuple of str
        For parts of parameter names that the project's optimizer settings single out, those of ours that match the
        same parameters; none where the model has no such parameters here.
    """

    type: str
    translate: Translate
    renaming: RenamingOf
    over: str = ""
    encoder: Renaming | None = None
    inside: str = ""
    optimizer_keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class BackboneRecord(Generic[Translate]):
    """A family of encoders as another project saves it.

    Attributes
    ----------
    types : tuple of str
        The names of its classes there.
    names : str
        A regular expression for our names, without the tag of pretrained weights.
    translate : callable
        From its configuration there to our name and options; the signature is the project's.
    renaming : Renaming or callable
        Of its tensors.
    optimizer_keys : mapping from str to tuple of str
        As in `MethodRecord`.
    """

    types: tuple[str, ...]
    names: str
    translate: Translate
    renaming: RenamingOf
    optimizer_keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def find_method(
    methods: Mapping[str, MethodRecord[Translate]], kind: str, backbone: str
) -> tuple[str, MethodRecord[Translate]] | None:
    """Return our name and the record of a method by its name there and that of its encoder, or None."""
    fitting = [(name, record) for name, record in methods.items() if record.type == kind]
    over = [(name, record) for name, record in fitting if record.over == backbone]
    return next(iter(over or [(name, record) for name, record in fitting if not record.over]), None)


def find_backbone(backbones: Mapping[str, BackboneRecord[Translate]], kind: str) -> BackboneRecord[Translate] | None:
    """Return the record of an encoder by its class there, or None."""
    return next((record for record in backbones.values() if kind in record.types), None)


def model_renaming(
    methods: Mapping[str, MethodRecord[Any]],
    backbones: Mapping[str, BackboneRecord[Any]],
    model: ModelConfig,
    *,
    encoder: str,
    title: str,
) -> Renaming:
    """Return the renaming of a whole model.

    Parameters
    ----------
    methods, backbones : mapping
        The records of a project.
    model : ModelConfig
        The model section of a recipe; what it leaves out has its defaults.
    encoder : str
        The encoder's name in their model.
    title : str
        The project's name, for messages.

    Raises
    ------
    UnsupportedError
        When the project has no such method or encoder.
    """
    model = complete_section(model)
    if model.segmentor not in methods:
        raise UnsupportedError(f"{title} has no method like vitrail's {model.segmentor!r}")
    method = methods[model.segmentor]
    inner = method.encoder or _encoder_renaming(backbones, model, title)
    ours = f"backbone.{method.inside}" if method.inside else "backbone"
    # What the method undoes of their names, such as a module around the whole model, comes before the encoder's.
    return combine(renaming_for(method.renaming, model), under(encoder, ours, inner))


def renaming_for(renaming: RenamingOf, model: ModelConfig) -> Renaming:
    """Return the renaming that a record states for a model."""
    return renaming if isinstance(renaming, Renaming) else renaming(model)


def _encoder_renaming(backbones: Mapping[str, BackboneRecord[Translate]], model: ModelConfig, title: str) -> Renaming:
    name = (model.backbone or "").partition(".")[0]
    for record in backbones.values():
        if re.fullmatch(record.names, name):
            return renaming_for(record.renaming, model)
    raise UnsupportedError(f"{title} has no encoder like vitrail's {model.backbone!r}")
