"""Keeping back what the converters of other projects print."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(*loggers: str, level: int = logging.ERROR) -> Iterator[None]:
    """Keep back warnings, and log lines below a level, in a block.

    Parameters
    ----------
    *loggers : str
        Their names; "" is the root.
    level : int
        The lowest level that is printed.
    """
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, old in before.items():
            logging.getLogger(name).setLevel(old)
