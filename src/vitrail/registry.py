"""Registries: the names under which methods, backbones, datasets, losses and other extensions are found."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vitrail.errors import VitrailError, nearest
from vitrail.plugins import load_installed_plugins

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry], Generic[Entry]):
    """A read-only mapping from names to entries, filled by decorators; a missing name suggests the nearest one.

    The first look-up imports the package whose modules register the built-in entries, then the installed plugins.

    Parameters
    ----------
    kind : str
        What the entries are, in the singular, as it should stand in messages ("segmentor").
    error : type of VitrailError
        Raised for a name that is not registered.
    package : str
        The package whose import registers the built-in entries ("vitrail.segmentors").
    """

    def __init__(self, kind: str, error: type[VitrailError], package: str) -> None:
        self.kind = kind
        self.error = error
        self.package = package
        self._entries: dict[str, Entry] = {}
        self._modules: dict[str, str] = {}

    def add(self, name: str, entry: Entry, *, module: str | None = None) -> None:
        """Register `entry` under `name`; a name can be taken once.

        Parameters
        ----------
        name : str
            The name of the entry.
        entry
            What is looked up.
        module : str, optional
            The module that defines the entry, for `origin`; None takes the entry's own `__module__`.
        """
        if name in self._entries:
            raise ValueError(
                f"{self.kind} {name!r} is registered twice, by {self._modules[name]} and {module or _module_of(entry)}"
            )
        self._entries[name] = entry
        self._modules[name] = module or _module_of(entry)

    def origin(self, name: str) -> str:
        """Return the top-level package that registered `name`: "vitrail" or that of a plugin."""
        self[name]
        return self._modules[name].partition(".")[0]

    def __getitem__(self, name: str) -> Entry:
        self._fill()
        if name not in self._entries:
            raise self.error(f"unknown {self.kind} {name!r}.{nearest(name, self._entries)}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._fill()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._fill()
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        self._fill()
        return len(self._entries)

    def _fill(self) -> None:
        importlib.import_module(self.package)
        load_installed_plugins()


def _module_of(entry: Any) -> str:
    return str(getattr(entry, "__module__", None) or type(entry).__module__)


# Where the registry of each kind is, for code that must not import the package that defines it.
KINDS: Mapping[str, str] = {
    "segmentor": "vitrail.segmentors:SEGMENTORS",
    "backbone": "vitrail.backbones:BACKBONES",
    "dataset": "vitrail.datasets:DATASETS",
    "loss": "vitrail.losses:LOSSES",
    "optimizer": "vitrail.optim:OPTIMIZERS",
    "schedule": "vitrail.optim:SCHEDULES",
    "augmentation": "vitrail.transforms:AUGMENTATIONS",
    "logger": "vitrail.training.loggers:LOGGERS",
    "strategy": "vitrail.runtime.distributed:STRATEGIES",
    "checkpoint source": "vitrail.checkpoints.sources:SOURCES",
    "export format": "vitrail.export:EXPORTERS",
    "frame source": "vitrail.inference.sources:FRAME_SOURCES",
}


def find_registry(kind: str) -> Registry[Any]:
    """Return the registry of a kind of extension, one of `KINDS`; imports the package that defines it.

    Raises
    ------
    VitrailError
        For an unknown kind; the message names the nearest one.
    """
    if kind not in KINDS:
        raise VitrailError(f"unknown kind {kind!r}.{nearest(kind, KINDS)} Kinds: {', '.join(KINDS)}.")
    package, _, name = KINDS[kind].partition(":")
    registry: Registry[Any] = getattr(importlib.import_module(package), name)
    return registry


def keyword_arguments(builder: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the keyword-only parameters of a builder function by name."""
    parameters = inspect.signature(builder).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def check_arguments(
    builder: Callable[..., Any],
    given: Mapping[str, Any],
    what: str,
    error: type[VitrailError],
    *,
    also: Callable[..., Any] | None = None,
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
    also : callable, optional
        Another callable that takes a part of the arguments.
    """
    known: dict[str, inspect.Parameter] = {}
    types: dict[str, Any] = {}
    for each in (builder,) if also is None else (also, builder):
        known |= keyword_arguments(each)
        types |= get_type_hints(each.__init__ if inspect.isclass(each) else each)
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
