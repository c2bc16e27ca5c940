"""`vitrail recipes` and `vitrail recipe`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from vitrail.cli.options import filter_argument, json_option, overrides_argument
from vitrail.cli.output import echo, matching


@click.command()
@filter_argument
@click.option("--table1", "as_table1", is_flag=True, help="Print Table 1 of SSSegmentation's paper with their names.")
@json_option("Print JSON instead of text.")
def recipes(wanted: str, as_table1: bool, as_json: bool) -> None:
    """List the recipes.

    FILTER is a part of the name or a pattern, such as pspnet*ade20k.
    """
    if as_table1:
        _print_table1(wanted, as_json)
        return
    from vitrail.recipes import list_recipes

    names = matching(list_recipes(), wanted, "recipe")
    echo(json.dumps(names, indent=1) if as_json else "\n".join(names))


def _print_table1(wanted: str, as_json: bool) -> None:
    from vitrail.checkpoints.table1 import figures_table, table1

    named = {each.name: each for each in table1()}
    figures = [named[name] for name in matching(named, wanted, "figure of the table")]
    echo(json.dumps([each.to_dict() for each in figures], indent=1) if as_json else figures_table(figures))


@click.command()
@click.argument("name")
@overrides_argument
def recipe(name: str, overrides: Sequence[str]) -> None:
    """Print a recipe with all its values."""
    from vitrail.recipes import dump_recipe, load_recipe

    echo(dump_recipe(load_recipe(name, overrides)), nl=False)
