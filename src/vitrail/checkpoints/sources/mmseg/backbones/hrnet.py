"""HRNet; everybody kept the authors' names."""

from __future__ import annotations

from vitrail.checkpoints.plain import as_tuples
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, check_norm, known_shape
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError

# By width, the modules of the last three stages, and the blocks in each.
_SHAPES = {
    (18, (1, 3, 2), 2): "hrnet_w18_small_v2",
    **{(width, (1, 4, 3), 4): f"hrnet_w{width}" for width in (18, 30, 32, 40, 44, 48, 64)},
}
RENAMING = Renaming({"": "encoder"})


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    stages = settings.take("extra")
    last = stages["stage4"]
    width, blocks = last["num_channels"][0], last["num_blocks"][0]
    modules = tuple(stages[f"stage{i}"]["num_modules"] for i in (2, 3, 4))
    if as_tuples(last["num_channels"]) != tuple(width * 2**i for i in range(4)):
        raise UnsupportedError(f"{settings.where} does not double its channels from branch to branch")
    check_norm(settings, "BN", "SyncBN")
    name = known_shape(_SHAPES, (width, modules, blocks), settings.where)
    return Encoder(name, in_channels=settings.take("in_channels", 3))


BACKBONES.add("hrnet", BackboneRecord(("HRNet",), r"hrnet_w\w+", translate, RENAMING), module=__name__)
