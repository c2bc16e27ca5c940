"""Options and arguments that several verbs take, each defined once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from vitrail.errors import VitrailError
from vitrail.precision import PRECISIONS

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]

PATH = click.Path(path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)

overrides_argument = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
overrides_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the recipe; can be repeated."
)
filter_argument = click.argument("wanted", metavar="[FILTER]", default="")
model_argument = click.argument("model")
recipe_option = click.option("--recipe", help="A name or a YAML file; the model's own by default.")
data_root_option = click.option("--data-root", type=PATH, help="The dataset's folder; else data.root of the recipe.")
start_from_option = click.option(
    "--from",
    "start_from",
    metavar="MODEL",
    help="A trained model to start from: a name (see `vitrail weights`), a file or an address.",
)
device_option = click.option("--device", help="Such as cuda, cuda:1, mps or cpu; the best available by default.")
amp_option = click.option(
    "--amp", type=click.Choice(PRECISIONS), help="Precision of the model; evaluation.amp of the recipe by default."
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace files that exist.")
trust_imports_option = click.option(
    "--trust-imports", is_flag=True, help="Let the model file import the modules that it names, which runs their code."
)


def output_dir_option(purpose: str) -> Callable[[Command], Command]:
    """Return the required option for the folder that a verb writes to; `purpose` is its help text."""
    return click.option("-o", "--output-dir", type=FOLDER, required=True, help=purpose)


def json_option(what: str) -> Callable[[Command], Command]:
    """Return the flag that switches a verb's output to JSON; `what` is its help text."""
    return click.option("--json", "as_json", is_flag=True, help=what)


def key_values(options: Sequence[str], where: str = "--set") -> dict[str, Any]:
    """Return the values, read as YAML, of options of the form KEY=VALUE; `where` names them in messages.

    Raises
    ------
    VitrailError
        For an option without an equals sign, and for a value that is not valid YAML.
    """
    from vitrail.files.yaml_file import parse_yaml_value

    values = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise VitrailError(f"{where} takes KEY=VALUE, not {option!r}")
        values[key] = parse_yaml_value(value, f"{where} {option!r}", VitrailError)
    return values
