"""Freezing parameters by their names."""

from __future__ import annotations

from collections.abc import Sequence

from torch.nn.modules.batchnorm import _NormBase

from vitrail.errors import TrainingError, nearest
from vitrail.segmentors import Segmentor


def freeze_by_name(model: Segmentor, matches: Sequence[str]) -> None:
    """Freeze every parameter whose name contains one of `matches`.

    Norms that track statistics and whose name (with a dot behind it) contains one stop to update them. What was frozen
    before, such as the first stages of the backbone, stays so.

    Parameters
    ----------
    model : Segmentor
        Changed in place.
    matches : sequence of str
        Parts of names, such as "backbone." or "head.pyramid", as `optimizer.rules` has them.

    Raises
    ------
    TrainingError
        When one matches no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    for match in matches:
        if not any(match in name for name in names):
            parts = {part for name in names for part in name.split(".") if not part.isdigit()}
            raise TrainingError(f"train.freeze: no parameter has {match!r} in its name.{nearest(match, parts)}")
    for name, parameter in model.named_parameters():
        if any(match in name for match in matches):
            parameter.requires_grad_(False)
    for name, module in model.named_modules():
        if isinstance(module, _NormBase) and any(match in f"{name}." for match in matches):
            module.eval()
