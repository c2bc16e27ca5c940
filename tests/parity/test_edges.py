"""The edges that CE2P learns against those of SSSegmentation's data pipeline."""

from __future__ import annotations

import pytest
import torch

from parity.references import require_ssseg
from parity.toolboxes import ssseg_edges
from vitrail.layers.edges import class_edges

pytestmark = pytest.mark.parity


def test_edges() -> None:
    require_ssseg()
    targets = torch.randint(0, 3, (2, 17, 23)).repeat_interleave(3, 1).repeat_interleave(3, 2)
    targets[0, 10:20, 5:30] = 255
    torch.testing.assert_close(class_edges(targets), ssseg_edges(targets), rtol=0, atol=0)
