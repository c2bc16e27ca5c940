"""YAML as recipes use it: the core schema of YAML 1.2, errors with file and line, no silently repeated keys."""

from __future__ import annotations

import re
from typing import Any

import yaml

from vitrail.errors import RecipeError

# Without libyaml the same documents are read, more slowly.
_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BaseLoader):
    """A safe loader that refuses repeated keys, of which PyYAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """A safe dumper that quotes exactly the strings which `_Loader` would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        return super().represent_mapping(tag, mapping, flow_style=not mapping)


# PyYAML's own resolvers are those of YAML 1.1, where 1e-4 is a string, `no` is false and 1:30 is 90.
_NUMBER = "-+0123456789"
_RESOLVERS = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN\0"),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?(?:0|[1-9][0-9]*)", _NUMBER),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        _NUMBER + ".",
    ),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
)
for _class in (_Loader, _Dumper):
    _class.yaml_implicit_resolvers = {}
    for _tag, _pattern, _first in _RESOLVERS:
        _class.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), ["" if c == "\0" else c for c in _first])


def parse_yaml(text: str, source: str) -> Any:
    """Return the data of a YAML document.

    Parameters
    ----------
    text : str
        The document.
    source : str
        Where it comes from, for messages.

    Raises
    ------
    RecipeError
        When the text is not YAML, or repeats a key; the message gives the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise RecipeError(f"{source}{line}: not valid YAML: {error.problem or error}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{source}: not valid YAML: {error}") from error


def dump_yaml(data: Any) -> str:
    """Return data as YAML, keys in their order, lists of plain values on one line."""
    return yaml.dump(
        _plain(data), Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=119
    )


def _plain(data: Any) -> Any:
    """Tuples as lists, throughout."""
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    return data
