"""`vitrail recipes` and `vitrail recipe`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from vitrail.cli.options import filter_argument, overrides_argument
from vitrail.cli.output import echo, matching


@click.command()
@filter_argument
def recipes(wanted: str) -> None:
    """List the recipes.

    FILTER is a part of the name or a pattern, such as pspnet*ade20k.
    """
    from vitrail.recipes import list_recipes

    echo("\n".join(matching(list_recipes(), wanted, "recipe")))


@click.command()
@click.argument("name")
@overrides_argument
def recipe(name: str, overrides: Sequence[str]) -> None:
    """Print a recipe with all its values."""
    from vitrail.recipes import dump_recipe, load_recipe

    echo(dump_recipe(load_recipe(name, overrides)), nl=False)
