"""Registries: the names under which methods, backbones, datasets, losses and other extensions are found."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar, cast, get_type_hints

from vitrail.errors import PluginError, VitrailError, nearest
from vitrail.plugins import distribution_of, load_installed_plugins

Entry = TypeVar("Entry")
Registered = TypeVar("Registered")


@dataclass(frozen=True)
class Listing:
    """What is shown of a registered entry.

    Attributes
    ----------
    name : str
        The registered name.
    origin : str
        The distribution that it comes from, with its version: "vitrail 0.1.0".
    summary : str
        One line that says what it is.
    """

    name: str
    origin: str
    summary: str

    @classmethod
    def of(cls, name: str, package: str, summary: str) -> Listing:
        """Return the listing of an entry that the top-level package `package` defines."""
        return cls(name, distribution_of(package), summary)

    def to_dict(self) -> dict[str, str]:
        """Return the listing as JSON-ready data."""
        return asdict(self)


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
            The module that registers the entry; None takes the `__module__` of a class or function. Required for any
            other object.

        Raises
        ------
        PluginError
            When the name is taken; the message says by which packages.
        """
        module = module or _module_of(entry)
        if name in self._entries:
            raise PluginError(self._clash(name, self._modules[name], module))
        self._entries[name] = entry
        self._modules[name] = module

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """Return a decorator that registers a class or function, as it is, under `name`."""

        def decorator(entry: Registered) -> Registered:
            self.add(name, cast(Any, entry))
            return entry

        return decorator

    def _clash(self, name: str, *modules: str) -> str:
        first, second = (f"{module} ({distribution_of(top_level(module))})" for module in modules)
        return (
            f"{self.kind} {name!r} is registered twice: by {first} and by {second}; "
            "rename one of them, or uninstall the package that you do not need"
        )

    def origin(self, name: str) -> str:
        """Return the top-level package that registered `name`: "vitrail" or that of a plugin."""
        return top_level(self.module(name))

    def module(self, name: str) -> str:
        """Return the module that registered `name`."""
        entry = self[name]
        return self._modules.get(name) or _module_of(entry)

    def listings(self) -> list[Listing]:
        """Return every entry with its origin and its summary, sorted by name.

        The summary is the entry's attribute `summary`, or else the first line of its docstring.
        """
        return [Listing.of(name, self.origin(name), _summary(entry)) for name, entry in self.items()]

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


def top_level(module: str) -> str:
    """Return the top-level package of a module."""
    return module.partition(".")[0]


def _module_of(entry: Any) -> str:
    if not (inspect.isclass(entry) or inspect.isroutine(entry)):
        raise TypeError(f"registering a {type(entry).__name__} takes module=…, the module that registers it")
    return str(entry.__module__)


def _summary(entry: Any) -> str:
    summary = getattr(entry, "summary", None)
    return summary if isinstance(summary, str) else first_line(entry)


def first_line(documented: Any) -> str:
    """Return the first line of the docstring of a class or function; "" without one."""
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def calling_module() -> str:
    """Return the name of the module that called the caller of this function: who registers plain data."""
    frame = inspect.currentframe()
    caller = frame.f_back.f_back if frame is not None and frame.f_back is not None else None
    return str(caller.f_globals["__name__"]) if caller is not None else "__main__"


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

    A list may stand for a tuple, as YAML has no tuples.

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
            wanted = known[name].annotation
            wanted = wanted if isinstance(wanted, str) else inspect.formatannotation(wanted)
            raise error(f"{what}: {name} must be {wanted}, not {value!r}.")


def _fits(value: Any, wanted: Any) -> bool:
    """Return whether a value has a type, without converting anything but a list to a tuple."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError  # here, so that the command line starts at once

    adapter: TypeAdapter[Any] = TypeAdapter(wanted, config=ConfigDict(arbitrary_types_allowed=True))
    for candidate in (value, tuple(value)) if isinstance(value, list) else (value,):
        try:
            adapter.validate_python(candidate, strict=True)
        except ValidationError:
            continue
        return True
    return False


def copy_options(builder: Callable[..., Any], source: Callable[..., Any], *, leave_out: Iterable[str]) -> None:
    """Give a builder that takes `**options` the parameters of the class of another library that it wraps.

    `keyword_arguments` and `check_arguments` then know the names and types that the class takes.

    Parameters
    ----------
    builder : callable
        Gets a signature; its positional parameters stay as they are.
    source : callable
        The class or function whose parameters become keyword-only parameters of `builder`. One without a type gets
        that of its default.
    leave_out : iterable of str
        Parameters that cannot be set.
    """
    hints = get_type_hints(source.__init__ if inspect.isclass(source) else source)
    positional = [p for p in inspect.signature(builder).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    options, types = [], {}
    for name, parameter in inspect.signature(source).parameters.items():
        if name in leave_out or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        types[name] = hints.get(name, _type_of(parameter.default))
        shown = inspect.formatannotation(types[name])
        options.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=shown))
    builder.__signature__ = inspect.Signature([*positional, *options])  # type: ignore[attr-defined]
    builder.__annotations__ = types


def _type_of(default: Any) -> Any:
    if default is None or default is inspect.Parameter.empty:
        return Any
    return tuple[float, ...] if isinstance(default, tuple) else type(default)


def import_submodules(package: str, path: list[str]) -> None:
    """Import every module of a package, so that the decorators in them register what they decorate."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
