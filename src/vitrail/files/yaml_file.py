"""YAML files: the core schema of YAML 1.2, read within limits, with the line of every key.

The parser of PyYAML (libyaml, where it is installed) turns the text into events; this module builds plain data from
them. So values follow YAML 1.2 (PyYAML itself reads 1e-4 as a string, `no` as false and 1:30 as 90), a repeated key is
an error, no tag creates an object, and neither nesting nor aliases can take more memory than the limits below allow.
It reads as fast as PyYAML does with libyaml, which is twenty times as fast as ruamel.yaml with line numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vitrail.errors import VitrailError
from vitrail.files.regular import read_regular

MAX_BYTES = 4_000_000
MAX_DEPTH = 32
MAX_NODES = 50_000  # what aliases stand for counts every time
MAX_DIGITS = 100  # of a number

# libyaml's parser is ten times as fast; without it the same documents are read.
_EVENT_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"
_UNICODE_BREAKS = re.compile("[\x85\u2028\u2029]")

# Tag, pattern of the plain scalars that have it, and their first characters ("" for the empty scalar).
_RESOLVERS = (
    ("null", r"~|null|Null|NULL|", ("", *"~nN")),
    ("bool", r"true|True|TRUE|false|False|FALSE", tuple("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", tuple("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        tuple("-+0123456789."),
    ),
)
_PATTERNS = {tag: re.compile(rf"(?:{pattern})\Z", re.ASCII) for tag, pattern, _ in _RESOLVERS}
_OLD_BOOLEANS = re.compile(r"(?:yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)\Z")  # of YAML 1.1
_TAGS_BY_FIRST = {
    first: tuple(tag for tag, _, firsts in _RESOLVERS if first in firsts)
    for first in {first for _, _, firsts in _RESOLVERS for first in firsts}
}


@dataclass(frozen=True)
class YamlDocument:
    """The data of a YAML document, and where it stands in the text.

    Attributes
    ----------
    data
        Dictionaries, lists, strings, numbers, booleans and None.
    lines : tuple
        For internal use: line and parts of the whole document; `line` reads it.
    ambiguous : frozenset of str
        Those of its strings without quotes that readers of YAML 1.1 take for true or false, such as `no`.
    """

    data: Any
    lines: _Lines
    ambiguous: frozenset[str] = frozenset()

    def line(self, path: Sequence[str | int]) -> int:
        """Return the line, counted from 1, of the value that the keys and indices of `path` lead to.

        Of a value in a mapping it is the line of its key. Where the path leads out of the document, the line of the
        last part on the way.
        """
        line, parts = self.lines
        for step in path:
            if not parts or step not in parts:
                break
            line, parts = parts[step]
        return line


# The line of a value, and the same of its parts by key or index; None in place of these for a single value.
_Lines = tuple[int, Any]


@dataclass
class _Node:
    """A value that is complete: how many values it holds, itself included, and how deep they are nested."""

    value: Any
    lines: _Lines
    count: int = 1
    depth: int = 1


class _Problem(Exception):
    """Something that makes a document unacceptable, and the line it stands in, from 1."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.line = line


def read_yaml(path: Path, error: type[VitrailError]) -> YamlDocument:
    """Read a YAML file of UTF-8 text.

    Parameters
    ----------
    path : Path
        The file.
    error : type of VitrailError
        The error to raise.

    Raises
    ------
    VitrailError
        When the file cannot be read, is larger than `MAX_BYTES`, or `parse_yaml` refuses its text.
    """
    return decode_yaml(read_regular(path, error, limit=MAX_BYTES), str(path), error)


def decode_yaml(data: bytes, source: str, error: type[VitrailError]) -> YamlDocument:
    """Return the data of a YAML file of UTF-8 text by its content; `source` names it, errors as `read_yaml`."""
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as problem:
        raise error(f"cannot read {source}: {problem}") from problem
    return parse_yaml(text, source, error)


def parse_yaml(text: str, source: str, error: type[VitrailError]) -> YamlDocument:
    """Return the data of a YAML document, and its lines; None for an empty text.

    Parameters
    ----------
    text : str
        The document.
    source : str
        Where it comes from, for messages: a file's name, for instance.
    error : type of VitrailError
        The error to raise.

    Raises
    ------
    VitrailError
        When the text is not one YAML document, repeats a key of a mapping, has a key that is no plain value, uses a tag
        that is not of YAML's core schema, or goes beyond the limits of this module on nesting, numbers and size. The
        message begins with "source:line: ".
    """
    try:
        return _parse(text)
    except _Problem as problem:
        raise error(f"{source}:{problem.line}: {problem}") from problem


def parse_yaml_value(text: str, source: str, error: type[VitrailError]) -> Any:
    """Return the data of a short text, such as the value of an option on the command line.

    Raises
    ------
    VitrailError
        As `parse_yaml`; the message begins with "source: ", without a line.
    """
    try:
        return _parse(text).data
    except _Problem as problem:
        raise error(f"{source}: {problem}") from problem


def _parse(text: str) -> YamlDocument:
    try:
        return _build(yaml.parse(text, Loader=_EVENT_LOADER))
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        raise _Problem(f"not valid YAML: {problem.problem}", _line(mark)) from problem
    except yaml.reader.ReaderError as problem:
        line = text.count("\n", 0, problem.position) + 1
        raise _Problem(f"not valid YAML: {problem.reason}", line) from problem
    except UnicodeEncodeError as problem:
        raise _Problem(f"not valid YAML: {problem}", text.count("\n", 0, problem.start) + 1) from problem


class _Open:
    """A mapping or list whose end has not come yet."""

    def __init__(self, event: yaml.CollectionStartEvent) -> None:
        self.line = _line(event.start_mark)
        self.anchor = event.anchor
        self.is_mapping = isinstance(event, yaml.MappingStartEvent)
        self.mapping: dict[Any, Any] = {}
        self.items: list[Any] = []
        self.lines: dict[Any, _Lines] = {}
        self.key: _Node | None = None
        self.count = 1
        self.depth = 0

    def add(self, node: _Node) -> None:
        self.count += node.count
        self.depth = max(self.depth, node.depth)
        if not self.is_mapping:
            self.lines[len(self.items)] = node.lines
            self.items.append(node.value)
        elif self.key is None:
            self._check_key(node)
            self.key = node
        else:
            key = self.key.value
            self.mapping[key] = node.value
            self.lines[key] = (self.key.lines[0], node.lines[1])
            self.key = None

    def _check_key(self, node: _Node) -> None:
        if isinstance(node.value, dict | list):
            raise _Problem("a key should be one plain value, not a list or keys with values", node.lines[0])
        if node.value == "<<":
            raise _Problem("merge keys (<<) are not part of YAML 1.2: write the keys themselves", node.lines[0])
        if node.value in self.mapping:
            raise _Problem(f"the key {node.value!r} stands twice", node.lines[0])

    def close(self) -> _Node:
        value = self.mapping if self.is_mapping else self.items
        return _Node(value, (self.line, self.lines), self.count, self.depth + 1)


def _build(events: Iterator[Any]) -> YamlDocument:
    """Build the data of the only document in a stream of events. Never recursive, so that depth cannot hurt."""
    stack: list[_Open] = []
    anchors: dict[str, _Node | None] = {}
    root = _Node(None, (1, None))
    ambiguous: set[str] = set()
    documents = total = 0
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            stack.append(_open(event, len(stack)))
            if event.anchor is not None:
                anchors[event.anchor] = None
            continue
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _Problem("a second document (---) begins; there should be one", _line(event.start_mark))
            continue
        if isinstance(event, yaml.ScalarEvent):
            node, anchor = _scalar(event), event.anchor
            if event.implicit[0] and event.tag is None and _OLD_BOOLEANS.match(event.value):
                ambiguous.add(event.value)
        elif isinstance(event, yaml.AliasEvent):
            node, anchor = _alias(event, anchors), None
        elif isinstance(event, yaml.CollectionEndEvent):
            node, anchor = stack[-1].close(), stack.pop().anchor
        else:  # the stream's and the document's own
            continue
        if anchor is not None:
            anchors[anchor] = node
        total += 1 if not isinstance(event, yaml.AliasEvent) else node.count
        if total > MAX_NODES:
            raise _Problem(f"more than {MAX_NODES:,} values, counting what aliases stand for", node.lines[0])
        if len(stack) + node.depth > MAX_DEPTH + 1:
            raise _Problem(f"nested more than {MAX_DEPTH} deep", node.lines[0])
        if stack:
            stack[-1].add(node)
        else:
            root = node
    return YamlDocument(root.value, root.lines, frozenset(ambiguous))


def _line(mark: Any) -> int:
    """Return the line of a mark of PyYAML, counted from 1."""
    return 1 if mark is None else int(mark.line) + 1


def _open(event: yaml.CollectionStartEvent, depth: int) -> _Open:
    line = _line(event.start_mark)
    if depth == MAX_DEPTH:
        raise _Problem(f"nested more than {MAX_DEPTH} deep", line)
    if event.tag not in (None, "!", f"{_CORE}map" if isinstance(event, yaml.MappingStartEvent) else f"{_CORE}seq"):
        raise _Problem(_not_core(event.tag), line)
    return _Open(event)


def _alias(event: yaml.AliasEvent, anchors: dict[str, _Node | None]) -> _Node:
    line = _line(event.start_mark)
    if event.anchor not in anchors:
        raise _Problem(f"the alias *{event.anchor} stands for nothing: there is no &{event.anchor} before it", line)
    node = anchors[event.anchor]
    if node is None:
        raise _Problem(f"the alias *{event.anchor} stands inside what it stands for", line)
    return _Node(node.value, (line, node.lines[1]), node.count, node.depth)


def _scalar(event: yaml.ScalarEvent) -> _Node:
    line = _line(event.start_mark)
    text: str = event.value
    tag: str | None = event.tag
    if tag is None or tag == "!":
        kind = _resolve(text) if event.implicit[0] and tag is None else "str"
    else:
        kind = tag.removeprefix(_CORE)
        if kind not in ("str", *_PATTERNS) or not tag.startswith(_CORE):
            raise _Problem(_not_core(tag), line)
        if kind != "str" and not _PATTERNS[kind].match(text):
            raise _Problem(f"{text[:40]!r} is no {kind}", line)
    return _Node(_converted(kind, text, line), (line, None))


def _not_core(tag: str) -> str:
    return f"the tag {tag!r} is not one of YAML's core schema, or not one for this value"


def _resolve(text: str) -> str:
    """Return the kind of a plain scalar."""
    for kind in _TAGS_BY_FIRST.get(text[:1], ()):
        if _PATTERNS[kind].match(text):
            return kind
    return "str"


def _converted(kind: str, text: str, line: int) -> Any:
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if len(text) > MAX_DIGITS:
        raise _Problem(f"a number of more than {MAX_DIGITS} digits", line)
    if kind == "int":
        return int(text, 0 if text.startswith(("0o", "0x")) else 10)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


class _Dumper(yaml.SafeDumper):
    """A safe dumper that quotes exactly the strings which readers of YAML 1.2 or 1.1 would take for something else."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as PyYAML declares it

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        return super().represent_mapping(tag, mapping, flow_style=not mapping)

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Quote a text with line breaks of Unicode, which would become plain ones, so that they are escaped."""
        style = '"' if _UNICODE_BREAKS.search(data) else None
        return self.represent_scalar(f"{_CORE}str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)
for _tag, _pattern, _first in _RESOLVERS:
    _Dumper.add_implicit_resolver(f"{_CORE}{_tag}", _PATTERNS[_tag], list(_first))
_Dumper.add_implicit_resolver(f"{_CORE}bool", _OLD_BOOLEANS, list("yYnNoO"))


def dump_yaml(data: Any) -> str:
    """Return plain data as YAML for `parse_yaml`: keys in their order, lists of single values on one line."""
    return yaml.dump(
        _plain(data), Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=119
    )


def _plain(data: Any) -> Any:
    """Return data with lists in place of tuples, throughout."""
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    return data
