"""Channels and strides of every encoder's feature maps, without building it.

timm gives the channels of a map only for an encoder that is built, so the values are kept in `levels.json`, which
`python -m tools.measure_encoders` writes. A name that is not there, of a newer timm or registered elsewhere, is
built on PyTorch's "meta" device, which computes shapes and allocates nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from vitrail.backbones.backbone import BACKBONES
from vitrail.backbones.create import create_backbone
from vitrail.backbones.timm_families import timm_names
from vitrail.layers.skip_init import shapes_only

FILE = Path(__file__).with_name("levels.json")
_PACKAGE = __name__.partition(".")[0]


class Levels(NamedTuple):
    """Channels of an encoder's feature maps, and their strides in pixels of the image."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]


class BackboneName(str):
    """The name of an encoder, with the channels and strides of its feature maps at default options."""

    __slots__ = ()

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each map."""
        return levels_of(self).channels

    @property
    def strides(self) -> tuple[int, ...]:
        """Stride of each map, in pixels of the image."""
        return levels_of(self).strides


def levels_of(name: str) -> Levels:
    """Return channels and strides of the maps of encoder `name`.

    Raises
    ------
    ModelError
        For an unknown name.
    """
    elsewhere = name in BACKBONES and BACKBONES[name].__module__.partition(".")[0] != _PACKAGE
    found = None if elsewhere else known().get(name.partition(".")[0])
    return found or measured(name)


def measured(name: str) -> Levels:
    """Return channels and strides of encoder `name` by building it on the meta device."""
    with shapes_only():
        backbone = create_backbone(name)
    return Levels(backbone.channels, backbone.strides)


@cache
def known() -> dict[str, Levels]:
    """Return the contents of `levels.json`, by name."""
    groups: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return {
        name: Levels(tuple(group["channels"]), tuple(group["strides"]))
        for group in groups
        for name in group["names"].split()
    }


def list_backbones() -> list[BackboneName]:
    """Return the names that `create_backbone` builds: vitrail's own, then timm's that take any size. Builds nothing.

    Each name has the channels and strides of its encoder's maps.

    Examples
    --------
    >>> [(name, name.channels, name.strides) for name in list_backbones() if name == "resnet50"]
    [('resnet50', (256, 512, 1024, 2048), (4, 8, 16, 32))]
    """
    return [BackboneName(name) for name in [*BACKBONES, *(name for name in timm_names() if name not in BACKBONES)]]


def as_json(names: Iterable[str]) -> str:
    """Build every encoder and return the text of `levels.json`: one line for all encoders with the same maps."""
    alike: dict[Levels, list[str]] = {}
    for name in names:
        alike.setdefault(measured(name), []).append(name)
    lines = [
        json.dumps({"channels": levels.channels, "strides": levels.strides, "names": " ".join(sorted(names))})
        for levels, names in sorted(alike.items())
    ]
    return "[\n" + ",\n".join(lines) + "\n]\n"
