"""Metadata of a trained model: classes, colours, normalisation and origin."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelCard:
    """Metadata that prediction needs besides the weights, and where the model comes from.

    Attributes
    ----------
    classes : tuple of str
        Class names, by class index.
    palette : tuple of (int, int, int)
        One RGB colour (0…255) per class.
    mean, std : tuple of float
        Normalisation of RGB images, 0…255: `(image - mean) / std`.
    recipe : dict
        The resolved recipe that built the model, as plain data.
    name, source, license : str
        Name of the model, where its weights come from, and their licence; empty when unknown.
    started_from : str
        The model that its training started from; empty when there was none.
    metrics : dict
        Published or measured figures, such as `{"miou": 0.8568}` (fractions, 0…1).
    imports : tuple of str
        Modules outside vitrail that register what the model is built from; set when it is saved.
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    std: tuple[float, ...] = (58.395, 57.12, 57.375)
    recipe: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    source: str = ""
    license: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    imports: tuple[str, ...] = ()
    started_from: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the card as JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ModelCard:
        """Rebuild a card from `to_dict()`."""
        return cls(
            classes=tuple(data["classes"]),
            palette=tuple((r, g, b) for r, g, b in data["palette"]),
            mean=tuple(data["mean"]),
            std=tuple(data["std"]),
            recipe=data.get("recipe", {}),
            name=data.get("name", ""),
            source=data.get("source", ""),
            license=data.get("license", ""),
            started_from=str(data.get("started_from", "")),
            metrics=data.get("metrics", {}),
            imports=tuple(map(str, data.get("imports", ()))),
        )
