"""Plain vision transformers (ViT, DeiT)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import ZerosWhereMissing
from vitrail.checkpoints.sources.mmseg.encoders import (
    ATTENTION,
    BACKBONES,
    FEEDFORWARD,
    known_shape,
    layer_norm_eps,
    plain_transformer_options,
    plain_transformer_shape,
)
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming, State
from vitrail.checkpoints.sources.settings import Settings
from vitrail.recipes import ModelConfig

_SHAPES = {
    (192, 12, 3): "vit_tiny_patch16_224",
    (384, 12, 6): "vit_small_patch16_224",
    (768, 12, 12): "vit_base_patch16_224",
    (1024, 24, 16): "vit_large_patch16_224",
}
_NORM_EPS = 1e-6  # of timm's
_PATCH_BIAS = "encoder.patch_embed.proj.bias"


def names(attention: Names) -> Names:
    """Return the names of a plain transformer whose blocks have these names for their attention."""
    return {
        "cls_token": "encoder.cls_token",
        "pos_embed": "encoder.pos_embed",
        "patch_embed.projection": "encoder.patch_embed.proj",
        "layers.*": ("encoder.blocks.*", {"ln1": "norm1", "ln2": "norm2", **attention, **FEEDFORWARD}),
        "ln1": "final_norm",
    }


@dataclass(frozen=True)
class UnusedClassToken:
    """A class token of theirs that no block sees, with its position: ours has none; zeros on the way back."""

    token: str = "encoder.cls_token"
    positions: str = "encoder.pos_embed"

    def to_ours(self, state: State) -> State:
        """See `Layout`."""
        kept = {name: value for name, value in state.items() if name != self.token}
        return {**kept, self.positions: state[self.positions][:, 1:]} if self.token in state else kept

    def to_theirs(self, state: State) -> State:
        """See `Layout`."""
        if self.positions not in state:
            return state
        positions = state[self.positions]
        token = positions.new_zeros(positions[:, :1].shape)
        return {**state, self.token: token, self.positions: torch.cat([token, positions], dim=1)}


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming, which depends on whether there is a class token."""
    # The first generation of MMSegmentation has the bias, the second by default not.
    bias = ZerosWhereMissing(_PATCH_BIAS, "encoder.patch_embed.proj.weight")
    token = () if model.backbone_options.get("class_token", True) else (UnusedClassToken(),)
    return Renaming(names(ATTENTION), (bias, *token))


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    shape = plain_transformer_shape(settings)
    name = known_shape(_SHAPES, shape, settings.where)
    options = plain_transformer_options(settings, shape[1])
    options["interpolation"] = settings.take("interpolate_mode", "bicubic")
    options["final_norm"] = settings.take("final_norm", False)
    if not settings.take("with_cls_token", True):
        options["class_token"] = False
    if settings.take("output_cls_token", False):
        options["append_class_token"] = True
    eps = layer_norm_eps(settings)
    if eps != _NORM_EPS:
        options["layer_norm_eps"] = eps
    settings.must_be("qkv_bias", True)
    settings.must_be("pre_norm", False)
    settings.must_be("out_origin", False)
    settings.must_be("patch_pad", "corner")
    settings.pass_over("patch_bias")  # a file without it has it as zeros
    order = tuple(range(len(options["out_indices"])))
    return Encoder(name, None, options, settings.take("in_channels", 3), order, takes_neck=True)


BACKBONES.add(
    "vit",
    BackboneRecord(("VisionTransformer",), r"vit_\w+", translate, renaming, {"norm": ()}),  # they are called ln there
    module=__name__,
)
