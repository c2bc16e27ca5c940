"""Images of the user's, to measure the ranges of int8 on and to compare masks on."""

from __future__ import annotations

from torch import Tensor

from vitrail.datasets.pixel_format import PixelFormat
from vitrail.errors import ExportError
from vitrail.inference.sources import Pictures, open_frames
from vitrail.transforms.resize import resize_image

MAX_IMAGES = 300  # more change the ranges little


def read_images(images: Pictures, channels: int, size: tuple[int, int] | None) -> list[Tensor]:
    """Return at most 300 images [1, C, H, W], uint8, evenly chosen from all.

    Parameters
    ----------
    images
        What `vitrail.inference.sources.open_frames` takes.
    channels : int
        Number of channels of the model's images.
    size : (int, int), optional
        Height and width that they are resized to; None keeps those of each image.

    Raises
    ------
    ExportError
        When the images are a stream that never ends.
    VitrailError
        When there is no image, or one cannot be read.
    """
    source = open_frames(images)
    if source.num_frames is None:
        raise ExportError("the images must be a folder, files or pixels, not a stream without an end")
    step = max(1, -(-source.num_frames // MAX_IMAGES))
    pixels = PixelFormat(channels)
    chosen = [frame.pixels(pixels) for index, frame in enumerate(source) if index % step == 0]
    return [(image if size is None else resize_image(image, size)).unsqueeze(0) for image in chosen]
