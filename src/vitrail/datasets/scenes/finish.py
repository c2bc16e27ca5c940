"""From painted shapes to a photograph: road surface, wet mirror, rain, grain, vignette."""

from __future__ import annotations

from random import Random

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from vitrail.datasets.scenes.camera import Camera
from vitrail.datasets.scenes.canvas import ROAD, SIDEWALK, Canvas
from vitrail.datasets.scenes.noise import FloatArray, asphalt, clouds, grain, sample

ByteArray = npt.NDArray[np.uint8]
_EYE_BLUR = 0.45


def finish(canvas: Canvas, factor: int, rng: Random) -> tuple[ByteArray, ByteArray]:
    """Return image [H, W, 3] and mask [H, W], reduced by `factor`."""
    size = (canvas.camera.width // factor, canvas.camera.height // factor)
    mask = np.asarray(canvas.mask.resize(size, Image.Resampling.NEAREST))
    small = canvas.image.reduce(factor)
    horizon = int(canvas.camera.horizon / factor)
    if canvas.weather.wet:
        small = _mirror(small, mask, horizon, canvas.weather.wet)
        small = _rain(small, rng)
    image = np.asarray(small).astype(np.float32)
    _texture(image, mask, canvas.camera, factor, rng)
    _grime(image, mask, rng)
    return _expose(image, rng), mask


def _texture(image: FloatArray, mask: ByteArray, camera: Camera, factor: int, rng: Random) -> None:
    top = int(camera.horizon / factor) + 2
    rows = np.arange(top, image.shape[0], dtype=np.float32)[:, None]
    columns = np.arange(image.shape[1], dtype=np.float32)[None, :]
    z = camera.focal * camera.eye / np.maximum((rows + 0.5) * factor - camera.horizon, 1)
    x = ((columns + 0.5) * factor - camera.vanishing_x) * z / camera.focal
    z = np.broadcast_to(z, x.shape)
    fade = np.clip(1.3 - z / 28, 0, 1)
    surface = sample(asphalt(), z * 40 + rng.uniform(0, 512), x * 40 + rng.uniform(0, 512))
    below = mask[top:]
    road = 1 + (surface - 1) * fade * (below == ROAD)
    size = rng.uniform(0.45, 0.9)
    joint = np.minimum(np.abs(x / size - np.round(x / size)) * size, np.abs(z / size - np.round(z / size)) * size * 0.8)
    slabs = sample(clouds(5), np.round(z / size) * 37, np.round(x / size) * 53)
    paved = (0.94 + 0.12 * slabs) * (1 - 0.22 * np.clip(1 - joint / (0.012 + z * 0.0025), 0, 1))
    walk = 1 + (paved - 1) * np.clip(1.2 - z / 20, 0, 1) * (below == SIDEWALK)
    image[top:] *= (road * walk)[..., None]


def _grime(image: FloatArray, mask: ByteArray, rng: Random) -> None:
    height, width = mask.shape
    tile = clouds(6)
    scale = 512 / max(width, height) * 1.5
    rows = np.arange(height, dtype=np.float32)[:, None] * scale * 0.6 + rng.uniform(0, 512)
    columns = np.arange(width, dtype=np.float32)[None, :] * scale + rng.uniform(0, 512)
    patches = sample(tile, np.broadcast_to(rows, (height, width)), np.broadcast_to(columns, (height, width)))
    image *= (1 + (patches - 0.5) * 0.22 * (mask > 0))[..., None]


def _mirror(image: Image.Image, mask: ByteArray, horizon: int, strength: float) -> Image.Image:
    width, height = image.size
    depth = height - horizon
    above = image.crop((0, max(0, horizon - depth), width, horizon)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    above = above.resize((max(1, width // 2), max(1, depth // 12))).resize((width, depth), Image.Resampling.BICUBIC)
    above = above.filter(ImageFilter.GaussianBlur(1))
    shine = sample(clouds(3), np.arange(depth)[:, None] * 3.0, np.arange(width)[None, :] * 1.0)
    flat = np.isin(mask[horizon:], (ROAD, SIDEWALK))
    alpha = Image.fromarray((flat * np.clip(0.35 + shine, 0, 1) * strength * 255).astype(np.uint8))
    image = image.copy()
    image.paste(above, (0, horizon), alpha)
    return image


def _rain(image: Image.Image, rng: Random) -> Image.Image:
    pen = ImageDraw.Draw(image, "RGBA")
    lean = rng.uniform(-0.25, 0.25)
    for _ in range(image.width // 3):
        x, y, length = rng.uniform(0, image.width), rng.uniform(0, image.height), rng.uniform(0.02, 0.06) * image.height
        pen.line([(x, y), (x + lean * length, y + length)], fill=(215, 222, 232, rng.randrange(25, 70)))
    return image


def _expose(image: FloatArray, rng: Random) -> ByteArray:
    height, width = image.shape[:2]
    image *= rng.uniform(0.92, 1.08)
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :] ** 2
    image *= (1 - 0.055 * (down + across) ** 1.5)[..., None]
    noise = grain()
    top, left = rng.randrange(256), rng.randrange(256)
    rows, columns = np.arange(top, top + height) % 1024, np.arange(left, left + width) % 1024
    image += (noise[rows][:, columns] * rng.uniform(0.8, 3.0))[..., None]
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)
