"""`vitrail export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vitrail.cli.options import FILE, key_values, model_argument, overwrite_option, trust_imports_option
from vitrail.cli.output import echo
from vitrail.errors import VitrailError

if TYPE_CHECKING:
    from vitrail.export.exporter import ReducedPrecision


@click.command()
@model_argument
@click.argument("target", metavar="OUT", type=FILE)
@click.argument("options", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--format", "format_name", help="Such as onnx or pt2; chosen by OUT's suffix by default.")
@click.option("--size", type=click.IntRange(1), nargs=2, metavar="H W", help="One size of images only.")
@click.option("--dynamic", is_flag=True, help="Images of any size; this is the default.")
@click.option("--raw", is_flag=True, help="Return the values of all classes (logits) instead of class indices.")
@click.option("--scores", is_flag=True, help="Return the probability of each pixel's class too.")
@click.option("--half", is_flag=True, help="Weights, or all values, in float16.")
@click.option("--bfloat16", is_flag=True, help="Convolutions and products in bfloat16, in .pt2 files.")
@click.option("--int8", is_flag=True, help="Convolutions and products in 8 bits; needs --calibrate.")
@click.option("--calibrate", metavar="IMAGES", help="Images for --int8; the masks of the file are compared on them.")
@click.option(
    "--force", is_flag=True, help="Keep the file even if it does not agree with the model, or cannot be checked here."
)
@overwrite_option
@trust_imports_option
def export(
    model: str,
    target: Path,
    options: Sequence[str],
    format_name: str | None,
    size: tuple[int, int] | None,
    dynamic: bool,
    raw: bool,
    scores: bool,
    half: bool,
    bfloat16: bool,
    int8: bool,
    calibrate: str | None,
    force: bool,
    overwrite: bool,
    trust_imports: bool,
) -> None:
    """Export a model to a file that runs without vitrail.

    MODEL is a name, a file or an address; OUT is a .onnx, a .pt2, an .xml (OpenVINO), an .aoti.pt2 (AOTInductor), a
    .pte (ExecuTorch), an .mlpackage (Core ML), an .engine (TensorRT) or a file of another format
    (`vitrail list "export format"`). It takes images in uint8 RGB [B, 3, H, W] and returns class
    indices [B, H, W].

    KEY=VALUE sets an argument of the format, such as opset=20.
    """
    from vitrail.export import export_model

    if size and dynamic:
        raise VitrailError("--size and --dynamic exclude each other: give one of them")
    precisions: dict[ReducedPrecision, bool] = {"float16": half, "bfloat16": bfloat16, "int8": int8}
    chosen = [precision for precision, given in precisions.items() if given]
    if len(chosen) > 1:
        raise VitrailError("--half, --bfloat16 and --int8 exclude each other: give one of them")
    exported = export_model(
        model,
        target,
        format=format_name,
        size=size or None,
        raw=raw,
        scores=scores,
        precision=chosen[0] if chosen else "float32",
        images=calibrate,
        force=force,
        overwrite=overwrite,
        trust_imports=trust_imports,
        options=key_values(options, "vitrail export"),
    )
    if exported.check is None:
        echo(f"{target} was not checked: files of the format {exported.format!r} do not run on this machine")
        return
    verdict = "agrees" if exported.check.passed else "DOES NOT AGREE"
    echo(f"{exported.check}\n{target} {verdict} with the model")
