"""From the model section of a recipe, as plain data, to a segmentor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitrail.losses import create_criterion
from vitrail.segmentors import Segmentor, create_model


def build_model(model_config: Mapping[str, Any], num_classes: int) -> Segmentor:
    """Build the segmentor that a recipe describes, with the recipe's criterion.

    Parameters
    ----------
    model_config : mapping
        The recipe's model section as plain data (`recipe.model.model_dump()`); keys that are missing have the defaults
        of `vitrail.recipes.ModelConfig`.
    num_classes : int
        K, the number of classes; the caller decides between the section's own and the dataset's.

    Returns
    -------
    Segmentor
        With fresh weights (the backbone's pretrained ones where the section asks for them).

    Raises
    ------
    ModelError
        For a segmentor, backbone or argument that does not exist.
    """
    model = create_model(
        model_config["segmentor"],
        backbone=model_config.get("backbone"),
        num_classes=num_classes,
        pretrained=model_config.get("pretrained", False),
        output_stride=model_config.get("output_stride"),
        in_channels=model_config.get("in_channels", 3),
        backbone_options=model_config.get("backbone_options"),
        **model_config.get("options", {}),
    )
    terms = model_config.get("losses", ({"name": "cross_entropy"},))
    model.criterion = create_criterion(
        [(term["name"], term.get("weight", 1.0), term.get("options", {})) for term in terms]
    )
    return model
