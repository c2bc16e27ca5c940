"""Named builders: what `@register_segmentor` and `@register_backbone` fill and `create_model` reads."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vitrail.errors import VitrailError, nearest

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry], Generic[Entry]):
    """A read-only mapping from names to entries, filled by decorators; a missing name suggests the nearest one.

    Parameters
    ----------
    kind : str
        What the entries are, in the singular, as it should stand in messages ("segmentor").
    error : type of VitrailError
        Raised for a name that is not registered.
    """

    def __init__(self, kind: str, error: type[VitrailError]) -> None:
        self.kind = kind
        self.error = error
        self._entries: dict[str, Entry] = {}

    def add(self, name: str, entry: Entry) -> None:
        """Register `entry` under `name`; a name can be taken once."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = entry

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            raise self.error(f"unknown {self.kind} {name!r}.{nearest(name, self._entries)}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)


def keyword_arguments(builder: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the keyword-only parameters of a builder function by name."""
    parameters = inspect.signature(builder).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def check_arguments(
    builder: Callable[..., Any], given: Mapping[str, Any], what: str, error: type[VitrailError]
) -> None:
    """Raise `error` when `given` holds a name that `builder` does not take, or a value of another type than it says.

    A list may stand for a tuple, as YAML knows no tuples.

    Parameters
    ----------
    builder : callable
        Its keyword-only parameters are the ones that can be set.
    given : mapping
        The arguments by name.
    what : str
        What is being built, for the message ("segmentor 'pspnet'").
    error : type of VitrailError
        The error to raise.
    """
    known = keyword_arguments(builder)
    types = get_type_hints(builder.__init__ if inspect.isclass(builder) else builder)
    for name, value in given.items():
        if name not in known:
            takes = ", ".join(known) or "none"
            raise error(f"{what} takes no argument {name!r}.{nearest(name, known)} It takes: {takes}.")
        if name in types and not _fits(value, types[name]):
            raise error(f"{what}: {name} must be {known[name].annotation}, not {value!r}.")


def _fits(value: Any, wanted: Any) -> bool:
    """Return whether a value has a type, without converting anything but a list to a tuple."""
    adapter: TypeAdapter[Any] = TypeAdapter(wanted, config=ConfigDict(arbitrary_types_allowed=True))
    for candidate in (value, tuple(value)) if isinstance(value, list) else (value,):
        try:
            adapter.validate_python(candidate, strict=True)
        except ValidationError:
            continue
        return True
    return False


def import_submodules(package: str, path: list[str]) -> None:
    """Import every module of a package, so that the decorators in them register what they decorate."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
