"""The section `model.auxiliary` of a recipe translated from another project."""

from __future__ import annotations

from typing import Any

# Auxiliary heads as the translations of methods return them, and the keys of the section.
_KEYS = {
    "aux_weight": "weight",
    "aux_index": "maps",
    "aux_indices": "maps",
    "aux_channels": "channels",
    "aux_convs": "num_convs",
    "aux_upsample": "upsample",
}
_LISTS = ("maps", "channels")


def with_auxiliary(model: dict[str, Any]) -> dict[str, Any]:
    """Return a translated model section with its `aux_…` options and `aux_losses` moved to `auxiliary`."""
    options = model.get("options", {})
    auxiliary: dict[str, Any] = {}
    for old, new in _KEYS.items():
        if old in options:
            value = options[old]
            auxiliary[new] = [value] if new in _LISTS and not isinstance(value, list) else value
    if "aux_losses" in model:
        auxiliary["losses"] = model["aux_losses"]
    kept = {name: value for name, value in model.items() if name != "aux_losses"}
    if "options" in model:
        kept["options"] = {name: value for name, value in options.items() if name not in _KEYS}
    return kept | ({"auxiliary": auxiliary} if auxiliary else {})
