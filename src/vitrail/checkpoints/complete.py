"""A recipe's model section with everything that it leaves to defaults."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vitrail.recipes import ModelConfig
from vitrail.segmentors import SEGMENTORS, described_auxiliary


def complete_section(model: ModelConfig) -> ModelConfig:
    """Return a model section that gives every option of its method, its auxiliary heads, and a backbone.

    Raises
    ------
    ModelError
        For an unknown method.
    """
    method = SEGMENTORS[model.segmentor]
    defaults = {name: parameter.default for name, parameter in method.options.items()}
    auxiliary = asdict(described_auxiliary(model))
    changes: dict[str, Any] = {
        "options": {**defaults, **model.options},
        "auxiliary": model.auxiliary.model_copy(update=auxiliary),
    }
    if model.backbone is None:
        stride = method.output_stride if model.output_stride is None else model.output_stride
        changes |= {"backbone": method.backbone, "output_stride": stride}
    return model.model_copy(update=changes)
