"""What the oldest supported versions of PyTorch cannot do."""

from __future__ import annotations

import pytest
import torch

CAN_EXPORT = callable(torch.export.Dim.DYNAMIC)
needs_export = pytest.mark.skipif(not CAN_EXPORT, reason="exporting needs torch 2.8")
