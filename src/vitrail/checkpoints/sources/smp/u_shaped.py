"""smp's U-shaped models: Unet, UnetPlusPlus, MAnet and Linknet."""

from __future__ import annotations

from typing import Any

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.layouts import PartsLeftOut
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings
from vitrail.checkpoints.sources.smp.encoders import SmpEncoder
from vitrail.checkpoints.sources.smp.records import BLOCK, ModelRecord, Translation, interpolation, must_have_batch_norm

_CLASSIFIER: Names = {"segmentation_head.0": "head.classifier"}
_GATE: Names = {"attention.cSE": "of_channels", "attention.sSE.0": "of_pixels"}
_UP_BLOCK: Names = {
    "conv1": ("convs.0", BLOCK),
    "conv2": ("convs.1", BLOCK),
    "attention1": ("gate_in", _GATE),
    "attention2": ("gate_out", _GATE),
}


def _unused_gate(block: str) -> PartsLeftOut:
    """Leave out the gate of what is joined in the last block of a U-Net, which joins nothing."""
    return PartsLeftOut((f"{block}.gate_in.",))


def _unet_options(settings: Settings) -> dict[str, Any]:
    must_have_batch_norm(settings)
    settings.must_be("decoder_attention_type", None, "scse")
    return {"channels": _channels(settings), "interpolation": interpolation(settings)}


def _channels(settings: Settings) -> list[int]:
    return as_lists(settings.take("decoder_channels", (256, 128, 64, 32, 16)))


def _unet(settings: Settings, encoder: SmpEncoder) -> Translation:
    gates = settings.peek("decoder_attention_type") == "scse"
    options = _unet_options(settings)
    last = f"head.blocks.{len(options['channels']) - 1}"
    names: Names = {"decoder.blocks.*": ("head.blocks.*", _UP_BLOCK), **_CLASSIFIER}
    return Translation({**options, "gates": gates}, Renaming(names, (_unused_gate(last),)))


def _unetplusplus(settings: Settings, encoder: SmpEncoder) -> Translation:
    gates = settings.peek("decoder_attention_type") == "scse"
    options = _unet_options(settings)
    depth = len(options["channels"])
    blocks: dict[str, Any] = {
        f"decoder.blocks.x_{start}_{level}": (f"head.blocks.{start}_{level}", _UP_BLOCK)
        for level in range(depth)
        for start in range(level + 1)
    }
    renaming = Renaming({**blocks, **_CLASSIFIER}, (_unused_gate(f"head.blocks.0_{depth - 1}"),))
    return Translation({**options, "gates": gates}, renaming)


_MANET_BLOCK: Names = {
    "hl_conv.0": ("project.0", BLOCK),
    "hl_conv.1": ("project.1", BLOCK),
    "SE_ll": "skip_gate",
    "SE_hl": "gate",
    "conv1": ("convs.0", BLOCK),
    "conv2": ("convs.1", BLOCK),
}


def _manet(settings: Settings, encoder: SmpEncoder) -> Translation:
    must_have_batch_norm(settings)
    options = {
        "channels": _channels(settings),
        "attention_channels": settings.take("decoder_pab_channels", 64),
        "interpolation": interpolation(settings),
    }
    names: Names = {
        "decoder.center.top_conv": "head.attention.key",
        "decoder.center.center_conv": "head.attention.query",
        "decoder.center.bottom_conv": "head.attention.value",
        "decoder.center.out_conv": "head.attention.project",
        "decoder.blocks.*": ("head.blocks.*", _MANET_BLOCK),
        **_CLASSIFIER,
    }
    return Translation(options, Renaming(names))


def _linknet(settings: Settings, encoder: SmpEncoder) -> Translation:
    must_have_batch_norm(settings)
    block: Names = {"block.0": ("reduce", BLOCK), "block.1": "up", "block.2": ("expand", BLOCK)}
    return Translation({}, Renaming({"decoder.blocks.*": ("head.blocks.*", block), **_CLASSIFIER}))


MODELS = {
    "Unet": ModelRecord("unet", _unet),
    "UnetPlusPlus": ModelRecord("unetplusplus", _unetplusplus),
    "MAnet": ModelRecord("manet", _manet),
    "Linknet": ModelRecord("linknet", _linknet),
}
