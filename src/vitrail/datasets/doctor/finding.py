"""What a check of a dataset reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["stop", "warning", "note"]
_LISTED = 3


@dataclass(frozen=True)
class Finding:
    """One thing that a check saw.

    Attributes
    ----------
    severity : {"stop", "warning", "note"}
        "stop": a training on these data would be in vain; "warning": it might not be what is wanted; "note": all is
        well, but it is good to know.
    check : str
        The name of the check.
    message : str
        What was seen.
    files : tuple of str
        In which files.
    effect : str
        What it does to the training.
    fix : str
        The line that changes it; empty where there is nothing to change.
    """

    severity: Severity
    check: str
    message: str
    files: tuple[str, ...] = ()
    effect: str = ""
    fix: str = ""

    def __str__(self) -> str:
        """Return the finding as one paragraph."""
        text = f"{self.message}{_listed(self.files)}."
        if self.effect:
            text += f" {self.effect[0].upper()}{self.effect[1:]}."
        return f"{text} {self.fix}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON-ready data."""
        return {**asdict(self), "files": list(self.files)}


def _listed(files: Sequence[str]) -> str:
    if not files:
        return ""
    more = f" and {len(files) - _LISTED} more" if len(files) > _LISTED else ""
    return f" ({', '.join(files[:_LISTED])}{more})"
