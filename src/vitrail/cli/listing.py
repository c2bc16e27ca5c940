"""`vitrail list`: every name that can be used, and the package that it comes from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from vitrail.cli.options import filter_argument, json_option
from vitrail.cli.output import count, echo, matching, print_columns

if TYPE_CHECKING:
    from vitrail.registry import Listing


@click.command("list")
@click.argument("kind", required=False)
@filter_argument
@json_option("Print JSON instead of a table.")
def list_entries(kind: str | None, wanted: str, as_json: bool) -> None:
    """List what is registered, and which package each entry comes from.

    KIND is one of the kinds that `vitrail list` alone prints with the number of their entries, such as loss or
    "export format". FILTER is a part of the name or a pattern, such as resnet*.
    """
    if kind is None:
        _print_kinds(as_json)
        return
    kind = kind.replace("-", " ")
    listed = {listing.name: listing for listing in _listings(kind)}
    chosen = [listed[name] for name in matching(listed, wanted, kind)]
    if as_json:
        echo(json.dumps([listing.to_dict() for listing in chosen], indent=1))
    else:
        print_columns({listing.name: (listing.origin, listing.summary) for listing in chosen})


def _print_kinds(as_json: bool) -> None:
    from vitrail.registry import KINDS

    counts = {kind: len(_listings(kind)) for kind in KINDS}
    if as_json:
        echo(json.dumps(counts, indent=1))
    else:
        print_columns({kind: (count(number, "name"),) for kind, number in counts.items()})


def _listings(kind: str) -> Sequence[Listing]:
    from vitrail.registry import find_registry

    registered = find_registry(kind).listings()
    names = {listing.name for listing in registered}
    return [*registered, *(listing for listing in _LIBRARIES.get(kind, list)() if listing.name not in names)]


def _timm_encoders() -> list[Listing]:
    from vitrail.backbones import list_backbones
    from vitrail.registry import Listing

    return [Listing.of(name, "timm", "") for name in list_backbones()]


# Names that a library behind a registry provides besides.
_LIBRARIES: dict[str, Callable[[], list[Listing]]] = {"backbone": _timm_encoders}
