"""Printing results: lists that can be filtered, counts, and lines that only the main process prints."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping

import click

from vitrail.errors import VitrailError, nearest
from vitrail.files.printable import printable
from vitrail.files.text_table import aligned


def echo(text: str, *, nl: bool = True, err: bool = False) -> None:
    """Print a text that may hold names from files of strangers."""
    click.echo(printable(text), nl=nl, err=err)


def print_once(text: str) -> None:
    """Print a result from the main process only."""
    from vitrail.runtime.distributed import local_rank

    if not local_rank():
        echo(text)


def count(number: int, noun: str) -> str:
    """Return a number with its noun: "1 image", "2 images"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def matching(names: Iterable[str], wanted: str, kind: str) -> list[str]:
    """Return the names that contain `wanted`, or match it when it is a pattern such as "pspnet*ade20k".

    Parameters
    ----------
    names : iterable of str
        All names.
    wanted : str
        A part of a name or a pattern; "" matches every name.
    kind : str
        What the names are, in the singular, for the message.

    Raises
    ------
    VitrailError
        When nothing matches; the message suggests the nearest name.
    """
    known = list(names)
    pattern = wanted if any(letter in wanted for letter in "*?[") else f"*{wanted}*"
    chosen = [name for name in known if fnmatch.fnmatchcase(name, pattern)]
    if not chosen:
        raise VitrailError(f"no {kind} matches {wanted!r}.{nearest(wanted, known)}")
    return chosen


def print_columns(rows: Mapping[str, tuple[str, ...]]) -> None:
    """Print one line per name with aligned columns."""
    for line in aligned([(name, *columns) for name, columns in rows.items()]):
        echo(line)
