"""Plain vision transformers that were pretrained as masked autoencoders."""

from __future__ import annotations

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.mae import renaming
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, Config, drop_path, named_shape

_SHAPES = {"mae_pretrain_vit_base": "mae_vit_base_patch16"}


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    options = {**drop_path(values), "img_size": as_lists(values["img_size"])}
    return Encoder(named_shape(_SHAPES, values), options=options)


BACKBONES.add("mae", BackboneRecord(("MAE",), r"mae_\w+", translate, renaming), module=__name__)
