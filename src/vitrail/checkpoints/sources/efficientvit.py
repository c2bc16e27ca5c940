"""Checkpoints of EfficientViT's authors for segmentation (github.com/mit-han-lab/efficientvit).

A file holds `state_dict`; nothing says how the model is built, but that the published ones differ in their tensors.
"""

from __future__ import annotations

from vitrail.checkpoints.complete import complete_section
from vitrail.checkpoints.sources.indexed import IndexedSource
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.source import register_source
from vitrail.recipes import ModelConfig

_ENCODERS = "efficientvit_"  # how their names begin
_STAGES = 4


@register_source("efficientvit")
class EfficientViT(IndexedSource):
    """Checkpoints that EfficientViT's authors published for segmentation, and that their models load."""

    name = "efficientvit"
    title = "EfficientViT"
    known_by = frozenset({"head.input_ops.2.conv.weight", "head.output_ops.0.op_list.0.conv.weight"})

    def renaming(self, model: ModelConfig) -> Renaming:
        """Return the names of the tensors; see `IndexedSource`."""
        model = complete_section(model)
        encoder = model.backbone or ""
        if model.segmentor != "efficientvit" or not encoder.startswith(_ENCODERS):
            raise UnsupportedError(f"{self.title} has no model like {model.segmentor} on {encoder}")
        large = encoder.startswith(f"{_ENCODERS}l")  # the stem of the large ones is their first stage
        stem = "backbone.stages.0" if large else "backbone.input_stem"
        stages = {
            f"backbone.stages.{stage + large}.op_list.*": f"backbone.encoder.stages.{stage}.blocks.*"
            for stage in range(_STAGES)
        }
        widened = model.options["classifier_ratio"] is not None
        output: Names = {"head.output_ops.0.op_list.0": "head.widen"} if widened else {}
        return Renaming(
            {
                f"{stem}.op_list.0": "backbone.encoder.stem.in_conv",
                f"{stem}.op_list.1": "backbone.encoder.stem.res0",
                **stages,
                "head.input_ops.0.op_list.0": "head.projections.2",
                "head.input_ops.1.op_list.0": "head.projections.1",
                "head.input_ops.2": "head.projections.0",
                "head.middle.op_list.*": "head.blocks.*",
                **output,
                f"head.output_ops.0.op_list.{int(widened)}.conv": "head.classifier",
            }
        )
