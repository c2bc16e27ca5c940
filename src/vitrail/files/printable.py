"""Text that does not control the terminal it is printed on, whatever the names of files and classes in it hold."""

from __future__ import annotations

import logging
import sys
from typing import TextIO


def printable(text: str) -> str:
    """Return a text in which nothing controls a terminal: escapes in the names of files and classes are spelled out.

    Line breaks and tabs stay; bytes of file names that are not UTF-8 become \\udc80 to \\udcff.
    """
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else letter.encode("unicode_escape").decode()
        for letter in text
    )


class PrintableWarnings(logging.StreamHandler[TextIO]):
    """Prints the warnings of the library on stderr, as Python does without a handler, but printable."""

    def __init__(self) -> None:
        logging.Handler.__init__(self, logging.WARNING)  # that of the base would keep the present stderr

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Where it prints: the stderr of the moment."""
        return sys.stderr

    def format(self, record: logging.LogRecord) -> str:
        """Return the message of a record."""
        return printable(super().format(record))
