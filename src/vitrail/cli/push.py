"""`vitrail push`."""

from __future__ import annotations

import click

from vitrail.cli.options import model_argument, trust_imports_option
from vitrail.cli.output import echo


@click.command()
@model_argument
@click.argument("repository", metavar="ORG/NAME")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option("--license", help="The licence of the weights, such as cc-by-4.0; the model's own by default.")
@click.option("--overwrite", is_flag=True, help="Replace the model and README.md there; its history keeps them.")
@trust_imports_option
def push(model: str, repository: str, private: bool, license: str | None, overwrite: bool, trust_imports: bool) -> None:
    """Put a model on the Hugging Face hub, with a model card.

    MODEL is a name, a file or an address; others then load it as hf/ORG/NAME. The token is that of `hf auth login` or
    HF_TOKEN.
    """
    from vitrail.checkpoints import push_model

    address = push_model(
        model, repository, private=private, license=license, overwrite=overwrite, trust_imports=trust_imports
    )
    echo(f"{address}: load it as hf/{repository.removeprefix('hf/')}")
