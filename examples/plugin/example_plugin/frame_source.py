"""A frame source: the images of a NumPy array in a file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vitrail import Frame, PredictionError, register_frame_source


@register_frame_source("example_stack", suffixes=(".npy-stack",))
class ArrayFile:
    """The images of a file with NumPy's format and the suffix .npy-stack, an array of uint8 [N, H, W, 3]."""

    def __init__(self, where: str) -> None:
        try:
            self.stack = np.load(where, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise PredictionError(f"cannot read the array {where}: {error}") from error
        if self.stack.dtype != np.uint8 or self.stack.ndim != 4 or self.stack.shape[-1] != 3:
            raise PredictionError(f"{where} holds {self.stack.dtype} {self.stack.shape}, not uint8 [N, H, W, 3]")
        self.num_frames: int | None = len(self.stack)

    def __iter__(self) -> Iterator[Frame]:
        for index, pixels in enumerate(self.stack):
            yield Frame.of_pixels(np.array(pixels), id=f"{index:06d}")
