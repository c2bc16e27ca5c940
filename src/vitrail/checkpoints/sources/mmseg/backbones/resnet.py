"""ResNet with its stems: one 7 × 7 convolution, or three of 3 × 3 ("V1c"), and averaging shortcuts ("V1d")."""

from __future__ import annotations

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, check_norm, resnet_dilation
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.recipes import ModelConfig

DEEP_STEM: Names = {"stem": "conv1", "stem.7": "bn1"}


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    depth = settings.take("depth")
    deep = settings.take("deep_stem", kind != "ResNet")
    averaged = settings.take("avg_down", kind == "ResNetV1d")
    suffix = {(False, False): "", (True, False): "c", (True, True): "d"}.get((deep, averaged))
    if suffix is None:
        raise UnsupportedError(f"{settings.where} averages in its shortcuts without a deep stem")
    stride, options = resnet_dilation(settings)
    grid = settings.take("multi_grid", None)
    if grid is not None:
        options["multi_grid"] = as_lists(grid)
    settings.must_be("num_stages", 4)
    settings.must_be("out_indices", (0, 1, 2, 3))
    settings.must_be("style", "pytorch")
    settings.must_be("stem_channels", 64)
    settings.must_be("base_channels", 64)
    for key in ("conv_cfg", "dcn", "plugins"):
        settings.must_be(key, None)
    settings.must_be("stage_with_dcn", (False, False, False, False))
    check_norm(settings, "BN", "SyncBN")
    return Encoder(f"resnet{depth}{suffix}", stride, options, settings.take("in_channels", 3))


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming, which depends on the stem; without a deep one everybody kept the authors' names."""
    plain = (model.backbone or "").partition(".")[0].endswith(tuple("0123456789"))
    return Renaming({"": ("encoder", {} if plain else DEEP_STEM)})


BACKBONES.add(
    "resnet",
    BackboneRecord(("ResNet", "ResNetV1c", "ResNetV1d"), r"resnet\d+[cds]?", translate, renaming),
    module=__name__,
)
