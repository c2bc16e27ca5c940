"""Progress bar in the terminal."""

from __future__ import annotations

import sys
from types import TracebackType

from tqdm import tqdm

from vitrail.runtime.distributed import is_main


class ProgressBar:
    """A progress bar with images per second and remaining time; hidden on other ranks than 0 and without a terminal.

    Parameters
    ----------
    title : str
        Shown before the bar.
    total : int or None
        Number of images; None when it is unknown.
    done : int
        Number of images that are done already.
    """

    def __init__(self, title: str, *, total: int | None, done: int = 0) -> None:
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
        """Add finished images to the bar."""
        self._bar.update(images)

    def note(self, **figures: str) -> None:
        """Show values after the bar."""
        self._bar.set_postfix(figures, refresh=False)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
