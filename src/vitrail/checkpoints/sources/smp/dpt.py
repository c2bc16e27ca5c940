"""smp's DPT: maps of a plain transformer of timm."""

from __future__ import annotations

from typing import Any

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.layouts import Change, as_convolution, as_matrix
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.checkpoints.sources.smp.encoders import SmpEncoder, plain_encoder_of
from vitrail.checkpoints.sources.smp.records import Translation

_MAPS = 4
_READOUTS = {"cat": "project", "add": "add", "ignore": "ignore"}
_UNIT: Names = {"conv_1": "body.1", "batch_norm_1": "body.2", "conv_2": "body.4", "batch_norm_2": "body.5"}


def dpt_encoder_of(settings: Settings) -> SmpEncoder:
    """Return the encoder of a DPT."""
    return plain_encoder_of(settings, _MAPS, class_token=settings.peek("decoder_readout", "cat") != "ignore")


def dpt(settings: Settings, encoder: SmpEncoder) -> Translation:
    """Return the decoder of a DPT."""
    readout = settings.take("decoder_readout", "cat")
    if readout not in _READOUTS:
        raise UnsupportedError(f"{settings.where}.decoder_readout is {readout!r}, not one of {', '.join(_READOUTS)}")
    options = {
        "channels": settings.take("decoder_fusion_channels", 256),
        "map_channels": as_lists(settings.take("decoder_intermediate_channels", (256, 512, 1024, 1024))),
        "readout": _READOUTS[readout],
        "refine_coarsest": True,
        "align_corners": True,
    }
    names: dict[str, Any] = {
        "decoder.projection_blocks.*.project.0": "head.reassemble.*.readout",
        "decoder.reassemble_blocks.*.project_to_out_channel": "head.reassemble.*.project",
        "decoder.reassemble_blocks.*.upsample": "head.reassemble.*.rescale",
        "decoder.reassemble_blocks.*.project_to_feature_dim": "head.convs.*",
        "decoder.fusion_blocks.*": (
            "head.fusions.*",
            {"residual_conv_block1": ("side", _UNIT), "residual_conv_block2": ("refine", _UNIT)},
        ),
        "segmentation_head.head.0": "head.project.conv",
        "segmentation_head.head.1": "head.project.bn",
        "segmentation_head.head.4": "head.classifier",
    }
    layouts = (Change("readout.weight", as_convolution, as_matrix),)
    return Translation(options, Renaming(names, layouts))
