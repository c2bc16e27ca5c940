"""Data as nobody meant it, and what a reader may do with it: return a result or raise a VitrailError, in bounds."""

from __future__ import annotations

import contextlib
import copy
import resource
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning

from vitrail.errors import VitrailError

CPU_SECONDS = 5.0  # of one example
MEMORY = 1 << 30  # bytes beyond what the process has
NIGHTLY_SECONDS = 60.0

# How long a test tries: once in `make test`, for a minute in `make nightly`.
DURATIONS = pytest.mark.parametrize(
    "seconds", [pytest.param(0.0, id="short"), pytest.param(NIGHTLY_SECONDS, id="minute", marks=pytest.mark.nightly)]
)

_ODD = (
    *(None, True, False, 0, 1, -1, 3, 255, 2**31, 2**63, 10**30, 0.5, -1e-300, 1e300, float("nan"), float("inf")),
    *("", "x", "auto", "none", "0", "1e3", "é\u202e", "\x1b[2J\x07", "\udc80", "../..", "/etc/passwd", "a" * 5000),
    *("http://127.0.0.1:9/x", "os.system", "model", "cross_entropy", b"x", (), [], {}, [[]], [None], [0], {"": 0}),
    *({"type": "x"}, {"name": "x"}, [1, 2], [1.5, "x"], [3] * 300, {"a": {"b": [{}]}}),
)


def odd_values(*, json: bool = False) -> st.SearchStrategy[Any]:
    """Values of every kind, small and hostile; those that JSON has, if asked."""
    odd = [value for value in _ODD if not json or not isinstance(value, bytes | tuple)]
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    nested = st.recursive(
        leaves, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3)
    )
    return st.sampled_from(odd) | nested | st.integers(20, 60).map(_nested)


def altered(data: Any, *, json: bool = False) -> st.SearchStrategy[Any]:
    """Plain data with one to three of its values replaced, removed, exchanged or joined by another key."""
    paths = list(_paths(data))
    keys = sorted({path[-1] for path in paths if isinstance(path[-1], str)})
    change = st.tuples(
        st.sampled_from(paths),
        st.sampled_from(("replace", "replace", "replace", "exchange", "remove", "add")),
        odd_values(json=json),
        st.sampled_from(paths),
        st.sampled_from([*keys, "unknown"]),
    )
    return st.lists(change, min_size=1, max_size=3).map(lambda changes: _changed(data, changes))


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """Bytes of which a few are changed, inserted or left out, or that end early."""
    edit = st.tuples(st.integers(0, len(data)), st.integers(0, 12), st.binary(max_size=8))
    edited = st.lists(edit, min_size=1, max_size=4).map(lambda edits: _edited(data, edits))
    return edited | st.integers(0, len(data)).map(lambda length: data[:length]) | st.binary(max_size=200)


def damaged_text(text: str) -> st.SearchStrategy[str]:
    """A text of which parts are changed, repeated or left out."""
    pieces = st.sampled_from(("", ":", "\n", "- ", *"[]{}'\"#\t\x00", "&a ", "*a", "!!int "))
    edit = st.tuples(st.integers(0, len(text)), st.integers(0, 12), pieces | st.text(max_size=5))
    return st.lists(edit, min_size=1, max_size=4).map(lambda edits: _edited(text, edits)) | st.text(max_size=60)


def check_outcomes(examples: st.SearchStrategy[Any], read: Callable[[Any], Any], *, count: int, seconds: float) -> None:
    """Check that `read` returns or raises a VitrailError for examples, each within limits of time and memory.

    Parameters
    ----------
    examples : strategy
        What to call `read` with.
    read : callable
        The reader.
    count : int
        How many examples, always the same ones.
    seconds : float
        Go on with other examples for so long.
    """
    limits = settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    end, number = time.monotonic() + seconds, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HypothesisWarning)  # that an example which failed is long
        while number == 0 or time.monotonic() < end:
            seed(number)(limits(given(examples)(lambda example: _check(read, example))))()
            number += 1


def _check(read: Callable[[Any], Any], example: Any) -> None:
    begin = time.process_time()
    with memory_limited(MEMORY), contextlib.suppress(VitrailError):
        read(example)
    assert time.process_time() - begin < CPU_SECONDS, "it took too long"


@contextlib.contextmanager
def memory_limited(more: int) -> Iterator[None]:
    """Let the system refuse the process more memory than it has, plus `more` bytes."""
    statm = Path("/proc/self/statm")
    if not statm.exists():  # not Linux
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(statm.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def _paths(data: Any, below: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where values stand in plain data, the whole left out."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*below, key)
        yield from _paths(value, (*below, key))


def _changed(data: Any, changes: list[tuple[Any, ...]]) -> Any:
    data = copy.deepcopy(data)
    for path, what, value, other, key in changes:
        with contextlib.suppress(LookupError, TypeError, AttributeError):  # an earlier change removed the place
            parent = _at(data, path[:-1])
            if what == "remove":
                del parent[path[-1]]
            elif what == "add":
                parent[key] = copy.deepcopy(value)  # later changes are made in it
            else:
                parent[path[-1]] = copy.deepcopy(_at(data, other) if what == "exchange" else value)
    return data


def _at(data: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        data = data[key]
    return data


def _edited(data: Any, edits: list[tuple[Any, ...]]) -> Any:
    for at, removed, inserted in edits:
        data = data[:at] + inserted + data[at + removed :]
    return data
