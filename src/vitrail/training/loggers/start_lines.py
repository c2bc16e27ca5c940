"""The lines of the log that say what a run took from the model it starts from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vitrail.training.records import Record


def describe_start(record: Record) -> Iterator[str]:
    """Yield the lines of the log that say what a run took from the model it starts from."""
    title = record["name"] if record["name"] and record["name"] != record["model"] else ""
    yield (
        f"starting from {record['model']}{f' ({title})' if title else ''}: {record['taken']} of {record['tensors']} "
        f"tensors taken, {len(record['by_class'])} by class, {record['new_count']} new, "
        f"{record['left_out_count']} of the trained model left out"
    )
    classes = record["classes"]
    yield from _listed("  classes kept", classes["kept"])
    yield from _listed("  classes new", classes["new"])
    yield from _listed("  classes dropped", classes["dropped"])
    yield from _listed("  rows of the kept classes taken", record["by_class"])
    yield from _listed("  converted to other input channels", record["adapted"])
    yield from _listed("  new", record["new"])
    yield from _listed("  left out", record["left_out"])


def _listed(title: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"{title}: {', '.join(names)}"
