"""Checkpoints of RegSeg's author (github.com/RolandGao/RegSeg): `{"model": state_dict, "epoch": …}`.

Nothing says how the model is built, but that the published ones differ in their tensors.
"""

from __future__ import annotations

from vitrail.checkpoints.complete import complete_section
from vitrail.checkpoints.sources.indexed import IndexedSource
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.source import register_source
from vitrail.recipes import ModelConfig

# The finest stage of each encoder, here and there: a single block, which is no list there, or several.
_FINEST: dict[str, tuple[str, str]] = {
    "regseg": ("body.stage4", "backbone.stages.0.0"),
    "regseg_large": ("body.stage4.*", "backbone.stages.0.*"),
}
_SHARED: Names = {
    "conv1": "conv1.conv",
    "bn1": "conv1.bn",
    "bn2": "norm",
    "se": ("se", {"conv1": "fc1", "conv2": "fc2"}),
    "conv3": "conv3.conv",
    "bn3": "conv3.bn",
}
# A block of one dilation has a plain convolution there, others a list as here.
_SINGLE: Names = {**_SHARED, "conv2": "split.convs.0"}
_SPLIT: Names = {**_SHARED, "conv2": "split"}
_PLAIN_BLOCKS = 2  # at stride 16, before the dilations differ


@register_source("regseg")
class RegSeg(IndexedSource):
    """Checkpoints that RegSeg's author published, and that his models load."""

    name = "regseg"
    title = "RegSeg"
    key = "model"
    known_by = frozenset({"body.stage16.0.conv2.weight", "decoder.head16.conv.weight"})

    def renaming(self, model: ModelConfig) -> Renaming:
        """Return the names of the tensors; see `IndexedSource`."""
        model = complete_section(model)
        finest = _FINEST.get(model.backbone or "")
        if model.segmentor != "regseg" or finest is None:
            raise UnsupportedError(f"{self.title} has no model like {model.segmentor} on {model.backbone}")
        return Renaming(
            {
                "stem": "backbone.stem.0",
                finest[0]: (finest[1], _SINGLE),
                "body.stage8.*": ("backbone.stages.1.*", _SINGLE),
                "body.stage16.*": ("backbone.stages.2.*", _SPLIT),
                **{f"body.stage16.{index}": (f"backbone.stages.2.{index}", _SINGLE) for index in range(_PLAIN_BLOCKS)},
                "decoder.head16": "head.project_coarse",
                "decoder.head8": "head.project_middle",
                "decoder.head4": "head.project_fine",
                "decoder.conv8": "head.conv_middle",
                "decoder.conv4": "head.conv_fine",
                "decoder.classifier": "head.classifier",
            }
        )
