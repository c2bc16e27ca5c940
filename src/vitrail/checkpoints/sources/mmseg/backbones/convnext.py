"""ConvNeXt, which MMSegmentation takes from MMPretrain."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, known_shape
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.settings import Settings

_SHAPES = {size: f"convnext_{size}" for size in ("tiny", "small", "base", "large", "xlarge")}
RENAMING = Renaming(
    {
        "downsample_layers.0": "encoder.stem",
        "downsample_layers.*": "encoder.stages.*.downsample",
        "stages.*.*": (
            "encoder.stages.*.blocks.*",
            {"depthwise_conv": "conv_dw", "pointwise_conv1": "mlp.fc1", "pointwise_conv2": "mlp.fc2"},
        ),
        **{f"norm{i}": f"norms.{i}" for i in range(4)},
    }
)


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    name = known_shape(_SHAPES, settings.take("arch", "tiny"), settings.where)
    settings.must_be("out_indices", (0, 1, 2, 3))
    settings.must_be("gap_before_final_norm", False)
    settings.pass_over("layer_scale_init_value")
    return Encoder(name, None, {"drop_path_rate": settings.take("drop_path_rate", 0.0)})


BACKBONES.add("convnext", BackboneRecord(("ConvNeXt",), r"convnext_\w+", translate, RENAMING), module=__name__)
