"""BEiT."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.beit import renaming
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, Config, drop_path, named_shape

_SHAPES = {
    "beit_base_patch16_224_pt22k_ft22k": "beit_base_patch16_224.in22k_ft_in22k",
    "beit_large_patch16_224_pt22k_ft22k": "beit_large_patch16_224.in22k_ft_in22k",
}


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    options = {"img_size": 640, "drop_path_rate": 0.1, **drop_path(values)}
    return Encoder(named_shape(_SHAPES, values), options=options)


BACKBONES.add("beit", BackboneRecord(("BEiT",), r"beit_\w+", translate, renaming), module=__name__)
