"""Measure every encoder: `python -m tools.measure_encoders`, after a new encoder or a new timm; takes some minutes.

Writes `src/vitrail/backbones/levels.json` (channels and strides) and `tools/site/encoder_costs.json` (parameters in
millions and multiply-accumulate operations in billions for an image of 512×512, of the encoders with a row of their own
in the documentation).
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from tools.site.tables import shown_encoders
from vitrail.backbones import create_backbone, levels, list_backbones

SITE = Path(__file__).parent / "site"
SIZE = 512


def cost(name: str) -> dict[str, float]:
    """Return the parameters and operations of an encoder, built without memory on PyTorch's "meta" device."""
    with torch.device("meta"):
        backbone = create_backbone(name).eval()
        images = torch.empty(1, 3, SIZE, SIZE)
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone(images)
    return {"parameters": round(parameters / 1e6, 1), "macs": round(counter.get_total_flops() / 2e9, 1)}


def main() -> None:
    """Write both files."""
    levels.FILE.write_text(levels.as_json(list_backbones()), encoding="utf-8")
    rows = [f"{json.dumps(name)}: {json.dumps(cost(name))}" for name in shown_encoders()]
    (SITE / "encoder_costs.json").write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
