"""Data of strangers: what Python raises while they are taken apart becomes one error that names the file."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Callable, Iterator

from vitrail.errors import VitrailError

# What data of another kind than a format has make Python, NumPy, Pillow and zlib raise.
_UNFORESEEN = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError),
    *(struct.error, zlib.error),
)


@contextlib.contextmanager
def foreign_data(kind: type[VitrailError], message: Callable[[str], str]) -> Iterator[None]:
    """Context in which data are read that may be anything; errors of vitrail's own pass.

    Parameters
    ----------
    kind : type
        Of the error that is raised in place of those of Python.
    message : callable
        Its message, by the kind and the text of the other one.
    """
    try:
        yield
    except VitrailError:
        raise
    except _UNFORESEEN as error:
        raise kind(message(f"{type(error).__name__}: {str(error)[:300]}")) from error
