"""A progress bar for people at a terminal."""

from __future__ import annotations

import sys
from types import TracebackType

from tqdm import tqdm

from vitrail.runtime.distributed import is_main


class ProgressBar:
    """A bar with images per second and the time left; silent in helper processes and when stderr is no terminal.

    Parameters
    ----------
    title : str
        Stands before the bar.
    total, done : int
        Images in all, and how many of them lie behind.
    """

    def __init__(self, title: str, *, total: int, done: int = 0) -> None:
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=title,
            unit="img",
            unit_scale=True,
            dynamic_ncols=True,
            leave=False,
            disable=not (is_main() and sys.stderr.isatty()),
        )

    def advance(self, images: int) -> None:
        """Move the bar on."""
        self._bar.update(images)

    def note(self, **figures: str) -> None:
        """Show figures behind the bar."""
        self._bar.set_postfix(figures, refresh=False)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
