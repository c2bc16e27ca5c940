"""The common start of a pair: another toolbox's model with fresh weights, and vitrail's model with the same."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity.importing import import_with_card
from parity.toolboxes import Mmseg, Ssseg
from vitrail.datasets.camvid import CAMVID
from vitrail.segmentors import ModelCard, Segmentor


@dataclass(frozen=True)
class Start:
    """A reference with the weights that it was initialised with.

    Attributes
    ----------
    reference : Mmseg or Ssseg
        What was built.
    model : Module
        The other toolbox's model.
    """

    reference: Mmseg | Ssseg
    model: nn.Module

    def imported(self, tensors: Mapping[str, Tensor] | None = None) -> tuple[Segmentor, ModelCard]:
        """Return vitrail's model with the weights of the start, or with others of the same model, and its card."""
        state = self.model.state_dict() if tensors is None else tensors
        weights = {name: tensor.detach().cpu() for name, tensor in state.items() if not name.startswith("criterion.")}
        return import_with_card(
            self.reference.toolbox,
            self.reference.settings(),
            weights,
            name=self.reference.config,
            classes=CAMVID.classes,
        )


def start(reference: Mmseg | Ssseg, seed: int, *, dropout: bool = True) -> Start:
    """Build a model of another toolbox, with or without dropout, and the weights that its own code draws for a seed."""
    seed_everything(seed)
    model = replace(reference, dropout=dropout).build()
    if reference.toolbox == "mmseg":
        _initialise_mmseg(model)
    return Start(reference, model)


def _initialise_mmseg(model: Any) -> None:
    """Draw the weights of a model of MMSegmentation, without a line of log for each."""
    from mmengine.logging import MMLogger

    MMLogger.get_current_instance().setLevel("ERROR")
    model.init_weights()


def seed_everything(seed: int) -> None:
    """Seed all random generators that a toolbox may draw from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the toolboxes draw from the global generator
    torch.manual_seed(seed)
