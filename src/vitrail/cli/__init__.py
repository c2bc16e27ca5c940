"""The `vitrail` command: one file per group of verbs, and every verb calls one function of the library.

Heavy imports (torch and all that needs it) belong inside the verbs, so that `vitrail --help` starts at once.
"""

from __future__ import annotations

import errno
import logging
import sys

import click

from vitrail import __version__
from vitrail.cli.compare import compare
from vitrail.cli.dataset import dataset
from vitrail.cli.evaluate import evaluate
from vitrail.cli.export import export
from vitrail.cli.find_lr import find_lr
from vitrail.cli.listing import list_entries
from vitrail.cli.output import echo
from vitrail.cli.predict import predict
from vitrail.cli.push import push
from vitrail.cli.recipes import recipe, recipes
from vitrail.cli.search import search
from vitrail.cli.serve import app, serve
from vitrail.cli.train import train
from vitrail.cli.weights import convert, weights
from vitrail.cli.zoo import zoo
from vitrail.errors import VitrailError
from vitrail.files.printable import PrintableWarnings
from vitrail.runtime.host_memory import keep_freed_memory

COMMANDS = (
    train,
    find_lr,
    search,
    compare,
    evaluate,
    predict,
    export,
    serve,
    app,
    recipes,
    recipe,
    dataset,
    weights,
    convert,
    push,
    zoo,
    list_entries,
)


@click.group(
    commands={command.name or "": command for command in COMMANDS},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="vitrail")
def cli() -> None:
    """Semantic segmentation: train, evaluate, predict.

    Try it: `vitrail train fastscnn_scenes --output-dir runs/first` needs no data.
    """


# A path that is too long, or in a folder that is not to be read: even asking whether there is a file raises these.
_OF_A_PATH = (errno.ENAMETOOLONG, errno.EACCES)


def main() -> None:
    """Run the command line: a user's mistake ends in one message and the status of its error, 2 for most.

    A bug keeps its traceback.
    """
    logger = logging.getLogger("vitrail")
    if not logger.hasHandlers():
        logger.addHandler(PrintableWarnings())
    keep_freed_memory()
    try:
        cli()
    except VitrailError as error:
        echo(f"vitrail: {error}", err=True)
        sys.exit(error.exit_status)
    except OSError as error:
        if error.errno not in _OF_A_PATH or error.filename is None:
            raise
        echo(f"vitrail: cannot use {error.filename}: {error.strerror}", err=True)
        sys.exit(VitrailError.exit_status)
