"""Write the current form of its recipe into the models that ship with the package: `python tools/refresh_card.py`.

Needed when the keys of recipes change before a release. The tensors stay as they are, byte for byte.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

from vitrail.recipes import load_recipe

WEIGHTS = Path(__file__).parents[1] / "src" / "vitrail" / "checkpoints" / "weights"


def refresh(path: Path) -> None:
    """Replace the recipe in the metadata of a model file by the shipped recipe of the same name."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    described = json.loads(header["__metadata__"]["vitrail"])
    described["card"]["recipe"] = load_recipe(path.stem).model_dump(mode="json")
    header["__metadata__"]["vitrail"] = json.dumps(described)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # safetensors aligns the tensors to eight bytes
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


if __name__ == "__main__":
    for file in sorted(WEIGHTS.glob("*.safetensors")):
        refresh(file)
