"""`vitrail serve` and `vitrail app`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vitrail.cli.options import FILE, amp_option, device_option, trust_imports_option
from vitrail.cli.output import echo
from vitrail.errors import ServiceError

if TYPE_CHECKING:
    from vitrail.precision import Precision

KEY = "VITRAIL_API_KEY"
_MEGA = 1_000_000


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="[NAME=]MODEL...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 for any free one.")
@click.option(
    "--api-key-file", type=FILE, help=f"File with the key that requests must carry; or the environment's {KEY}."
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes, each with its models; the limits below are those of each.",
)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Pictures in a batch at most.")
@click.option(
    "--queue", type=click.IntRange(1), default=64, show_default=True, help="Pictures in work at most; then status 429."
)
@click.option("--max-megabytes", type=click.FloatRange(0.001), default=32, show_default=True, help="Of one picture.")
@click.option("--max-megapixels", type=click.FloatRange(0.001), default=64, show_default=True, help="Of one picture.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1),
    default=120,
    show_default=True,
    help="Seconds from a request to its answer.",
)
@device_option
@amp_option
@trust_imports_option
def serve(
    models: Sequence[str],
    host: str,
    port: int,
    api_key_file: Path | None,
    workers: int,
    batch_size: int,
    queue: int,
    max_megabytes: float,
    max_megapixels: float,
    timeout: float,
    device: str | None,
    amp: Precision | None,
    trust_imports: bool,
) -> None:
    """Serve models over HTTP, with a page for the browser.

    MODEL is a name, a file or an address; NAME is what requests call it.
    """
    from vitrail.serve.server import check_installed, is_local

    check_installed()
    from vitrail.serve import ServiceLimits
    from vitrail.serve import serve as run
    from vitrail.serve.models import named_models

    key = _api_key(api_key_file)
    pixels, size = round(max_megapixels * _MEGA), round(max_megabytes * _MEGA)
    standard = ServiceLimits()
    limits = ServiceLimits(
        max_bytes=size,
        max_pixels=pixels,
        max_images=queue,
        max_total_pixels=max(standard.max_total_pixels, 4 * pixels),
        max_total_bytes=max(standard.max_total_bytes, 4 * size),
        answer_seconds=timeout,
    )
    if not is_local(host) and key is None:
        echo(f"vitrail: everybody who reaches {host} can use this service; {KEY} sets a key", err=True)
    names = ", ".join(named_models(models))
    run(
        models,
        workers=workers,
        host=host,
        port=port,
        limits=limits,
        api_key=key,
        on_start=lambda url: echo(f"serving {names} on {url} (Ctrl+C stops)"),
        batch_size=batch_size,
        device=device,
        amp=amp,
        trust_imports=trust_imports,
    )


@click.command()
@click.argument("models", nargs=-1, metavar="[[NAME=]MODEL...]")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Any free one by default.")
@click.option("--no-browser", is_flag=True, help="Print the address only.")
@device_option
@trust_imports_option
def app(models: Sequence[str], port: int, no_browser: bool, device: str | None, trust_imports: bool) -> None:
    """Open a page that segments pictures and the camera's view, on this computer alone.

    MODEL is a name, a file or an address; without one the page has the models that come with vitrail.
    """
    from vitrail.serve.server import check_installed

    check_installed()
    from vitrail.checkpoints.loading import shipped_models
    from vitrail.serve import serve as run

    def show(url: str) -> None:
        echo(f"{url} (Ctrl+C stops)")
        if not no_browser:
            click.launch(url)

    run(models or sorted(shipped_models()), port=port, on_start=show, device=device, trust_imports=trust_imports)


def _api_key(file: Path | None) -> str | None:
    """Return the key of the service, if there is one; it is no option, because other users see those."""
    if file is None:
        return os.environ.get(KEY) or None
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ServiceError(f"cannot read the key in {file}: {error}") from error
    if not key:
        raise ServiceError(f"the key file {file} is empty: write a key into it")
    return key
