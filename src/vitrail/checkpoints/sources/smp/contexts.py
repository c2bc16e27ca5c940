"""smp's DeepLabV3, DeepLabV3Plus, PSPNet, UPerNet and Segformer."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.layouts import Change, as_convolution, as_matrix
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.checkpoints.sources.smp.encoders import SmpEncoder
from vitrail.checkpoints.sources.smp.records import (
    BLOCK,
    ModelRecord,
    Translation,
    from_stride_four,
    must_have_batch_norm,
    must_resize_by,
)

_CLASSIFIER: Names = {"segmentation_head.0": "head.classifier"}
_SEPARABLE: Names = {"0.0": "depthwise.conv", "0.1": "pointwise.conv", "1": "pointwise.bn"}
_POOL: Names = {"1": "conv", "2": "bn"}
_PSP_SIZES = (1, 2, 3, 6)


def _last(strides: tuple[int, ...]) -> list[int]:
    return [len(strides) - 1]


def _pyramid(separable: bool) -> Names:
    branch = _SEPARABLE if separable else BLOCK
    return {
        "convs.0": ("branches.0", BLOCK),
        **{f"convs.{index}": (f"branches.{index}", branch) for index in (1, 2, 3)},
        "convs.4": ("pool.1", _POOL),
        "project": ("fuse", BLOCK),
    }


def _aspp_options(settings: Settings, *, separable: bool) -> dict[str, Any]:
    return {
        "channels": settings.take("decoder_channels", 256),
        "dilations": [1, *as_lists(settings.take("decoder_atrous_rates", (12, 24, 36)))],
        "separable": settings.take("decoder_aspp_separable", separable),
        "fuse_kernel_size": 1,
        "refine": True,
        "dropout": settings.take("decoder_aspp_dropout", 0.5),
        "align_corners": True,
    }


def _deeplabv3(settings: Settings, encoder: SmpEncoder) -> Translation:
    options = _aspp_options(settings, separable=False)
    if settings.peek("upsampling") is None:
        settings.pass_over("upsampling")
    stride = encoder.encoder.output_stride or encoder.strides[-1]
    must_resize_by(settings, stride, encoder)
    pyramid = ("head.pyramid", _pyramid(options["separable"]))
    # before its version 0.4 the decoder was a list
    names: Names = {
        "decoder.aspp": pyramid,
        "decoder.0": pyramid,
        **{f"decoder.{name}": "head.refine.conv" for name in ("conv", "1")},
        **{f"decoder.{name}": "head.refine.bn" for name in ("bn", "2")},
        **_CLASSIFIER,
    }
    return Translation(options, Renaming(names))


def _deeplabv3plus(settings: Settings, encoder: SmpEncoder) -> Translation:
    options = {
        **_aspp_options(settings, separable=True),
        "shortcut_channels": 48,
        "depthwise_norm": False,
        "decoder_convs": 1,
    }
    must_resize_by(settings, 4, encoder)
    if 4 not in encoder.strides[:-1]:
        raise UnsupportedError(f"{settings.where}: the encoder has no map at stride 4 before its last")
    refine: Names = {"1.0": "depthwise.conv", "1.1": "pointwise.conv", "2": "pointwise.bn"}
    names: Names = {
        "decoder.aspp.0": ("head.pyramid", _pyramid(options["separable"])),
        "decoder.aspp": ("head.refine", refine),
        "decoder.block1": ("head.shortcut", BLOCK),
        "decoder.block2": ("head.decoder.0", _SEPARABLE),
        **_CLASSIFIER,
    }
    return Translation(options, Renaming(names))


def _joined(strides: tuple[int, ...]) -> list[int]:
    """Return the map at stride 4 and the last."""
    return [strides.index(4) if 4 in strides else 0, len(strides) - 1]


def _pspnet(settings: Settings, encoder: SmpEncoder) -> Translation:
    must_have_batch_norm(settings)
    width = encoder.channels[-1]
    options = {
        "channels": settings.take("psp_out_channels", 512),
        "pool_sizes": list(_PSP_SIZES),
        "pool_channels": width // len(_PSP_SIZES),
        "pool_norm_of_mean": False,
        "fuse_kernel_size": 1,
        "classifier_kernel_size": 3,
        "dropout": settings.take("psp_dropout", 0.2),
        "align_corners": True,
    }
    must_resize_by(settings, encoder.strides[-1], encoder)
    names: Names = {
        "decoder.psp.blocks.0.pool.1.0": "head.pyramid.stages.0.1.0",
        **{f"decoder.psp.blocks.{i}.pool.1": (f"head.pyramid.stages.{i}.1", BLOCK) for i in range(1, 4)},
        "decoder.conv": ("head.fuse", BLOCK),
        **_CLASSIFIER,
    }
    swapped = partial(_parts_reversed, 2)
    swap = Change("head.fuse.conv.weight", swapped, swapped)  # the pooled maps come first there
    return Translation(options, Renaming(names, (swap,)))


def _upernet(settings: Settings, encoder: SmpEncoder) -> Translation:
    must_have_batch_norm(settings)
    options = {
        "channels": settings.take("decoder_channels", 256),
        "pool_sizes": list(_PSP_SIZES),
        "dropout": 0.0,
        "norm_maps": True,
        "align_logits": True,
    }
    must_resize_by(settings, 4, encoder)
    finer = len(from_stride_four(encoder.strides)) - 1
    names: dict[str, Any] = {
        "decoder.feature_norms": "head.norms",
        "decoder.psp.blocks.*.1": ("head.pyramid.stages.*.1", BLOCK),
        "decoder.psp.out_conv": ("head.pyramid_fuse", BLOCK),
        "decoder.fusion_block": ("head.fuse", BLOCK),
        **_CLASSIFIER,
    }
    for index in range(finer):
        lateral = f"decoder.fpn_lateral_blocks.{finer - 1 - index}.conv_norm_relu"
        names[lateral] = (f"head.laterals.{index}", BLOCK)
        names[f"decoder.fpn_conv_blocks.{finer - 1 - index}"] = (f"head.smooth.{index}", BLOCK)
    return Translation(options, Renaming(names))


def _segformer(settings: Settings, encoder: SmpEncoder) -> Translation:
    options = {
        "channels": settings.take("decoder_segmentation_channels", 256),
        "linear_projection": True,
        "dropout": 0.0,
        "align_logits": True,
    }
    must_resize_by(settings, 4, encoder)
    if encoder.strides[0] != 4:
        raise UnsupportedError(
            f"{settings.where}: with the map at stride 2 of {encoder.encoder.name} smp's Segformer resizes maps down, "
            "which vitrail's does not"
        )
    last = len(encoder.strides) - 1
    names: dict[str, Any] = {"decoder.fuse_stage": ("head.fuse", BLOCK), **_CLASSIFIER}
    names |= {f"decoder.mlp_stage.{last - index}.linear": f"head.projections.{index}" for index in range(last + 1)}
    reverse = partial(_parts_reversed, last + 1)
    layouts = (
        *(Change(f"head.projections.{i}.weight", as_convolution, as_matrix) for i in range(last + 1)),
        Change("head.fuse.conv.weight", reverse, reverse),  # the coarsest map comes first there
    )
    return Translation(options, Renaming(names, layouts))


def _parts_reversed(count: int, weight: Tensor) -> Tensor:
    return torch.cat(weight.chunk(count, dim=1)[::-1], dim=1)


MODELS = {
    "DeepLabV3": ModelRecord("deeplabv3", _deeplabv3, stride=8, reads=_last),
    "DeepLabV3Plus": ModelRecord("deeplabv3plus", _deeplabv3plus, stride=16, reads=_joined),
    "PSPNet": ModelRecord("pspnet", _pspnet, depth=3, reads=_last),
    "UPerNet": ModelRecord("upernet", _upernet, reads=from_stride_four),
    "Segformer": ModelRecord("segformer", _segformer),
}
