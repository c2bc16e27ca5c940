"""Make the pictures of the documentation from the results of `make demo`: `python tools/make_pictures.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from vitrail import predict
from vitrail.datasets import create_dataset

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
MODEL = Path(__file__).parents[1] / "demo" / "run" / "best.safetensors"
SHOWN = (1, 3, 5)


def sheet(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """Return pictures of one size side by side in rows of `columns`."""
    width, height = pictures[0].size
    page = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height))
    for index, picture in enumerate(pictures):
        page.paste(picture, (index % columns * width, index // columns * height))
    return page


def main() -> None:
    """Write the sheet of scenes, and the banner: scenes above their predictions."""
    scenes = create_dataset("scenes", None, "test")
    images = [Image.fromarray(scenes[index]["image"].permute(1, 2, 0).numpy()) for index in range(6)]
    shown = [images[index] for index in SHOWN]
    overlays = [predict(MODEL, image).overlay() for image in shown]
    PICTURES.mkdir(exist_ok=True)
    sheet(images, columns=3).save(PICTURES / "scenes.jpg", quality=88)
    sheet([*shown, *overlays], columns=3).save(PICTURES / "banner.jpg", quality=88)


if __name__ == "__main__":
    main()
