"""Plain vision transformers that were pretrained as masked autoencoders."""

from __future__ import annotations

import torch

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import OnlyTheirs, Split
from vitrail.checkpoints.sources.mmseg.backbones.beit import encoder_with_position_biases, position_index
from vitrail.checkpoints.sources.mmseg.backbones.vit import names
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.settings import Settings
from vitrail.recipes import ModelConfig

_SHAPES = {(768, 12, 12): "mae_vit_base_patch16"}


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    return encoder_with_position_biases(settings, _SHAPES)


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming, which depends on the size that positions are laid out for.

    The bias of the keys changes no attention and has no place here: theirs is lost, and one of zeros on the way back.
    """
    biases = Split("attn.qkv.bias", (("attn.q_bias", 1), ("attn.k_bias", 1), ("attn.v_bias", 1)))
    lost = OnlyTheirs("attn.k_bias", "attn.q_bias", torch.zeros_like)
    return Renaming(names({}), (position_index(model), biases, lost))


BACKBONES.add("mae", BackboneRecord(("MAE",), r"mae_\w+", translate, renaming), module=__name__)
