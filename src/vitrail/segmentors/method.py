"""The registry of methods: a head under a name, with the backbone and auxiliary heads it was published with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from inspect import Parameter
from typing import Any, TypeVar

from vitrail.errors import ModelError
from vitrail.registry import Registry, check_arguments, first_line, keyword_arguments
from vitrail.segmentors.auxiliary import NO_AUXILIARY, Auxiliary
from vitrail.segmentors.segmentor import Head


@dataclass(frozen=True)
class Method:
    """A registered method.

    Attributes
    ----------
    head : type of Head
        Built as `head(maps, num_classes, **options)`.
    backbone : str
        Name of the backbone used when none is given.
    output_stride : int or None
        Its output stride when none is given; None is the backbone's own.
    auxiliary : Auxiliary
        The auxiliary heads used when none are described.
    backbone_options : mapping
        Options of `backbone` when neither a backbone nor options are given.
    """

    head: type[Head]
    backbone: str
    output_stride: int | None = None
    auxiliary: Auxiliary = NO_AUXILIARY
    backbone_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The first line of the head's docstring."""
        return first_line(self.head)

    @property
    def options(self) -> dict[str, Parameter]:
        """The options by name: keyword-only arguments of the head and of its `wrap_backbone`."""
        return keyword_arguments(self.head.wrap_backbone) | keyword_arguments(self.head)

    def check_options(self, what: str, options: Mapping[str, Any]) -> None:
        """Raise a ModelError, which calls the method `what`, for an option that it lacks or that has a wrong type."""
        check_arguments(self.head, options, what, ModelError, also=self.head.wrap_backbone)

    def changed_auxiliary(self, what: str, changes: Mapping[str, Any]) -> Auxiliary:
        """Return the auxiliary heads of the method, which is called `what`, with what a recipe changes.

        Raises
        ------
        ModelError
            For changes to auxiliary heads that the method does not have, and for impossible ones.
        """
        if changes and self.auxiliary.weight == 0 and "weight" not in changes:
            raise ModelError(
                f"model.auxiliary gives {', '.join(changes)}, but {what} has no auxiliary heads of its own: "
                "also give model.auxiliary.weight (0.4 is usual) to add some, or leave the section out"
            )
        return replace(self.auxiliary, **{key: value for key, value in changes.items() if key != "losses"})


SEGMENTORS: Registry[Method] = Registry("segmentor", ModelError, "vitrail.segmentors")
HeadClass = TypeVar("HeadClass", bound=type[Head])


def register_segmentor(
    name: str,
    *,
    backbone: str = "resnet50c",
    output_stride: int | None = None,
    auxiliary: Auxiliary = NO_AUXILIARY,
    backbone_options: Mapping[str, Any] | None = None,
) -> Callable[[HeadClass], HeadClass]:
    """Return a class decorator that registers a `Head` as the method `name`; see `Method` for the arguments."""

    def decorator(head: HeadClass) -> HeadClass:
        SEGMENTORS.add(
            name, Method(head, backbone, output_stride, auxiliary, backbone_options or {}), module=head.__module__
        )
        return head

    return decorator


def list_segmentors() -> list[str]:
    """Return the names of the methods that `create_model` builds."""
    return list(SEGMENTORS)
