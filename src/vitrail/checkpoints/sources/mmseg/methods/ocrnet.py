"""OCRNet: object-contextual representations, from the coarse prediction of a first head."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import (
    METHODS,
    ModelSection,
    Translation,
    joined_maps,
    translation,
)
from vitrail.checkpoints.sources.mmseg.losses import first_weight
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.settings import UnsupportedError

RENAMING = Renaming(
    {
        "decode_head.0": ("head.coarse", {"conv_seg": "classifier"}),
        "decode_head.1": (
            "head",
            {
                "conv_seg": "classifier",
                "bottleneck": "pixels",
                "object_context_block.bottleneck": "fuse",
                "object_context_block.query_project": "attention.query",
                "object_context_block.key_project": "attention.key",
                "object_context_block.value_project": "attention.value.0",
                "object_context_block.out_project": "attention.out.0",
            },
        ),
    }
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    coarse, head = model.decode_head(0), model.decode_head(1)
    if not head.joined and (coarse.map_index(model.encoder), head.map_index(model.encoder)) != (-2, -1):
        raise UnsupportedError(f"{model.where} reads other maps than the last two")
    convolutions = coarse.convolutions()
    kernel_size = convolutions.pop("kernel_size")
    if convolutions != {"num_convs": 1, "dilation": 1, "concat_input": False}:
        raise UnsupportedError(f"{coarse.where} has other convolutions than a single one")
    options = {
        "channels": head.channels,
        "attention_channels": head.settings.take("ocr_channels"),
        "fuse_kernel_size": 1,
        "coarse_channels": coarse.channels,
        "coarse_kernel_size": kernel_size,
        "coarse_weight": first_weight(coarse.losses),
    }
    head.settings.must_be("scale", 1)
    coarse.finish()
    head.finish()
    return translation(head, joined_maps(head, model.encoder), options)


METHODS.add("ocrnet", MethodRecord("FCNHead+OCRHead", translate, RENAMING), module=__name__)
