"""From the model section of a recipe, as plain data, to a segmentor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from vitrail.errors import ModelError
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
        For a segmentor, backbone, loss or argument that does not exist, and for `aux_losses` of a model without
        auxiliary heads.
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
    model.criterion = _criterion(model_config.get("losses", ({"name": "cross_entropy"},)))
    auxiliary = model_config.get("aux_losses")
    if auxiliary is not None:
        if not model.auxiliary:
            raise ModelError(
                f"aux_losses are for auxiliary heads, and this {model_config['segmentor']} has none: "
                "leave them out, or raise the auxiliary heads' weight above 0"
            )
        model.auxiliary_criterion = _criterion(auxiliary)
    return model


def _criterion(terms: Sequence[Mapping[str, Any]]) -> nn.Module:
    return create_criterion([(term["name"], term.get("weight", 1.0), term.get("options", {})) for term in terms])
