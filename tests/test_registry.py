"""Arguments by name: unknown names and wrong types are refused before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from vitrail.errors import ModelError, PluginError
from vitrail.registry import Registry, check_arguments


def builder(
    first: int,
    *,
    channels: int = 1,
    rate: float = 0.5,
    sizes: Sequence[int] = (1, 2),
    pair: tuple[int, int] = (1, 2),
    pretrained: bool | str | Path = False,
    weights: Sequence[float] | None = None,
) -> None:
    """Take arguments of the kinds that builders have."""


def check(**given: Any) -> None:
    check_arguments(builder, given, "thing 'x'", ModelError)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"channels": 3, "rate": 1},
        {"sizes": [1, 2, 3], "pair": [4, 5]},
        {"sizes": (1,), "pair": (4, 5)},
        {"pretrained": Path("x"), "weights": None},
        {"pretrained": "x", "weights": [1, 0.5]},
    ],
)
def test_what_fits_passes(given: dict[str, Any]) -> None:
    check(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"chanels": 3}, r"thing 'x' takes no argument 'chanels'. Did you mean 'channels'\? It takes: channels, rate"),
        ({"first": 3}, "takes no argument 'first'"),
        ({"channels": "3"}, "channels must be int, not '3'"),
        ({"channels": 3.0}, r"channels must be int, not 3\.0"),
        ({"channels": True}, "channels must be int, not True"),
        ({"rate": "fast"}, "rate must be float, not 'fast'"),
        ({"sizes": 3}, r"sizes must be Sequence\[int\], not 3"),
        ({"sizes": "12"}, r"sizes must be Sequence\[int\], not '12'"),
        ({"pair": [1, 2, 3]}, r"pair must be tuple\[int, int\]"),
        ({"pretrained": 1}, "pretrained must be"),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check(**given)


def test_a_name_is_taken_once_and_looked_up_with_a_suggestion() -> None:
    registry: Registry[int] = Registry("thing", ModelError, "vitrail")
    registry.add("alpha", 1, module="vitrail.one")
    with pytest.raises(PluginError, match=r"'alpha' is registered twice: by vitrail\.one \(vitrail .*\) and by other"):
        registry.add("alpha", 2, module="other.two")
    with pytest.raises(ModelError, match=r"unknown thing 'alpa'.*'alpha'"):
        registry["alpa"]
