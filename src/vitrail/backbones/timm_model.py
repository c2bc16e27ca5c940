"""Bare models of timm without a classifier, at any image size where possible, and their feature levels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import timm
from torch import nn

from vitrail.backbones.weights import read_state_dict
from vitrail.errors import ModelError

FINEST_STRIDE = 4
COARSEST_STRIDE = 32
PYRAMID_LEVELS = 4

# Arguments with which encoders of a fixed input size accept any size; the first set that an encoder takes is used.
_ANY_SIZE: tuple[dict[str, bool], ...] = (
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"dynamic_img_size": True},
    {"strict_img_size": False},
    {},
)


def build_model(
    name: str, *, pretrained: bool | str | Path = False, output_stride: int | None = None, **arguments: Any
) -> Any:
    """Build a model of timm without its classifier, ready for images of any size where it can be.

    Parameters
    ----------
    name : str
        timm's name.
    pretrained : bool or path
        True downloads the published weights, a path reads a local file.
    output_stride : int, optional
        Passed on to encoders that take it.
    **arguments
        Of timm's constructor; None leaves one out.

    Raises
    ------
    ModelError
        When the model does not take an argument, has no weights, or they cannot be read or downloaded.
    """
    overlay = None if isinstance(pretrained, bool) else {"state_dict": read_state_dict(pretrained)}
    given = {key: value for key, value in arguments.items() if value is not None}

    def build(**more: Any) -> nn.Module:
        return timm.create_model(
            name,
            pretrained=bool(pretrained),
            pretrained_cfg_overlay=overlay,
            num_classes=0,
            **(more | given),
        )

    try:
        return _build_dilated(name, build, output_stride)
    except RuntimeError as error:
        if not pretrained:
            raise
        raise ModelError(_weights_message(name, pretrained, error)) from error
    except (OSError, ValueError) as error:
        if pretrained is not True:
            raise
        raise ModelError(_weights_message(name, pretrained, error)) from error


def _build_dilated(name: str, build: Callable[..., nn.Module], output_stride: int | None) -> nn.Module:
    if output_stride is None or output_stride == 32:
        return _build_any_size(name, build)
    try:
        return build(output_stride=output_stride)
    except AssertionError:  # raised by timm for a stride that the model does not support
        return _build_any_size(name, build)
    except TypeError as error:
        if _unexpected(error) != "output_stride":
            raise _refused(name, error) from error
        return _build_any_size(name, build)


def _build_any_size(name: str, build: Callable[..., nn.Module]) -> nn.Module:
    for arguments in _ANY_SIZE if _has_fixed_size(name) else _ANY_SIZE[-1:]:
        try:
            return build(**arguments)
        except TypeError as error:  # noqa: PERF203 - four tries at most
            if _unexpected(error) not in arguments:
                raise _refused(name, error) from error
    raise ModelError(f"timm cannot build {name!r}")


def _unexpected(error: TypeError) -> str | None:
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    return found[1] if found else None


def _refused(name: str, error: TypeError) -> Exception:
    argument = _unexpected(error)
    return error if argument is None else ModelError(f"backbone {name!r} takes no argument {argument!r}")


def _has_fixed_size(name: str) -> bool:
    cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return cfg is None or bool(cfg.fixed_input_size)


def feature_levels(model: nn.Module) -> list[tuple[int, int]]:
    """Return (channels, stride) of every feature level of a timm model."""
    info: Any = model.feature_info
    return [(int(level["num_chs"]), int(level["reduction"])) for level in info]


def chosen_levels(name: str, model: nn.Module, out_indices: Sequence[int] | None) -> list[int]:
    """Return the feature levels to take: `out_indices`, or four evenly spaced blocks or every level from stride 4 on.

    Raises
    ------
    ModelError
        For a level that the encoder does not have.
    """
    strides = [stride for _, stride in feature_levels(model)]
    if out_indices is not None:
        for index in out_indices:
            if not 0 <= index < len(strides):
                raise ModelError(
                    f"backbone {name!r} has feature levels 0 to {len(strides) - 1}; out_indices has {index}"
                )
        return list(out_indices)
    if len(set(strides)) == 1 and len(strides) > PYRAMID_LEVELS:
        return [(i + 1) * len(strides) // PYRAMID_LEVELS - 1 for i in range(PYRAMID_LEVELS)]
    levels = [i for i, stride in enumerate(strides) if stride >= FINEST_STRIDE]
    return [i for i in levels if strides[i] <= COARSEST_STRIDE] if len(levels) > PYRAMID_LEVELS else levels


def _weights_message(name: str, pretrained: bool | str | Path, error: Exception) -> str:
    if pretrained is True:
        return (
            f"the pretrained weights of {name!r} cannot be downloaded ({_first_line(error)}). Connect to the internet "
            "once (they are cached), or give the path of a downloaded file as pretrained=PATH, or pretrained=False"
        )
    return f"{pretrained} does not hold the weights of {name!r}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
