"""A recipe's model section with everything that it leaves to defaults."""

from __future__ import annotations

from vitrail.recipes import ModelConfig
from vitrail.registry import keyword_arguments
from vitrail.segmentors import SEGMENTORS


def complete_section(model: ModelConfig) -> ModelConfig:
    """Return a model section that gives every option of its method, and a backbone.

    Raises
    ------
    ModelError
        For an unknown method.
    """
    method = SEGMENTORS[model.segmentor]
    defaults = {name: parameter.default for name, parameter in keyword_arguments(method.builder).items()}
    changes = {"options": {**defaults, **model.options}}
    if model.backbone is None:
        stride = method.output_stride if model.output_stride is None else model.output_stride
        changes |= {"backbone": method.backbone, "output_stride": stride}
    return model.model_copy(update=changes)
