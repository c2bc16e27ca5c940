"""Large images cut into tiles while they are read, as for remote sensing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torchvision import tv_tensors

from vitrail.datasets.files import PairedFiles
from vitrail.datasets.image_files import decode_bands, open_image
from vitrail.datasets.pixel_format import PixelFormat
from vitrail.datasets.storage import Files
from vitrail.errors import DatasetError

_HEADER = 1 << 16  # bytes in which the size of an image usually stands
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # EXIF orientations in which width and height are exchanged


class Tile(NamedTuple):
    """A part of an image."""

    image: int
    top: int
    left: int
    bottom: int
    right: int


class Tiles:
    """The tiles of images, each with its mask; an image's id is followed by left_top_right_bottom.

    Neighbouring tiles overlap by `overlap` pixels; the last one of a row or column is moved back to end with the image.
    An image that is smaller than a tile is one tile of its own size. The last image stays decoded, so that its tiles in
    their order decode it once; tiles in random order decode an image each, which `vitrail dataset check … --write`
    spares.

    Parameters
    ----------
    source : PairedFiles
        The images.
    size : int
        Height and width of a tile, in pixels.
    overlap : int
        Pixels that neighbouring tiles share.

    Raises
    ------
    DatasetError
        When the size is not positive, the overlap is not smaller than it, or an image cannot be read.
    """

    def __init__(self, source: PairedFiles, size: int, overlap: int) -> None:
        if size < 1 or not 0 <= overlap < size:
            raise DatasetError(
                f"data.options: tiles of {size} pixels with {overlap} shared ones: tile_size should be positive, and "
                "tile_overlap at least 0 and smaller than tile_size"
            )
        self.source = source
        self.labelled = source.labelled
        self.tiles = [tile for index in range(len(source.pairs)) for tile in self._cut(index, size, size - overlap)]
        self.ids = [f"{source.ids[t.image]}_{t.left}_{t.top}_{t.right}_{t.bottom}" for t in self.tiles]
        self._last: tuple[int, PixelFormat, tv_tensors.Image, tv_tensors.Mask] | None = None

    @property
    def pixels(self) -> PixelFormat:
        """The channels and the range of values of the images."""
        return self.source.pixels

    @pixels.setter
    def pixels(self, pixels: PixelFormat) -> None:
        self.source.pixels = pixels

    def load(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Return a tile's image, uint8 [C, h, w], and mask, uint8 or int16 [h, w]."""
        tile = self.tiles[index]
        last = self._last
        if last is None or last[:2] != (tile.image, self.pixels):
            last = self._last = (tile.image, self.pixels, *self.source.load(tile.image))
        rows, columns = slice(tile.top, tile.bottom), slice(tile.left, tile.right)
        return tv_tensors.Image(last[2][:, rows, columns].clone()), tv_tensors.Mask(last[3][rows, columns].clone())

    def _cut(self, index: int, size: int, step: int) -> Iterator[Tile]:
        height, width = image_size(self.source.files, self.source.pairs[index].image)
        for top in _starts(height, size, step):
            for left in _starts(width, size, step):
                yield Tile(index, top, left, min(top + size, height), min(left + size, width))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}


def tiled(source: PairedFiles, size: int, overlap: int) -> PairedFiles | Tiles:
    """Return the tiles of images, or the images themselves where `size` is 0."""
    return Tiles(source, size, overlap) if size else source


def image_size(files: Files, name: str) -> tuple[int, int]:
    """Return height and width of an image, by its header alone where that is at the beginning of the file.

    Raises
    ------
    DatasetError
        When the image cannot be read.
    """
    where = files.locate(name)
    try:
        return _header_size(files.start(name, _HEADER), where)
    except DatasetError:
        pass  # a TIFF file may have its header at the end, and some formats are not Pillow's
    data = files.read(name)
    try:
        return _header_size(data, where)
    except DatasetError:
        shape = decode_bands(data, where).shape
        return shape[0], shape[1]


def _header_size(data: bytes, where: str) -> tuple[int, int]:
    with open_image(data, where) as image:
        turned = image.format in ("JPEG", "TIFF") and image.getexif().get(_ORIENTATION) in _TURNED
        return (image.width, image.height) if turned else (image.height, image.width)


def _starts(length: int, size: int, step: int) -> list[int]:
    """Return where the tiles of a row or column begin."""
    return sorted({min(start, max(length - size, 0)) for start in range(0, length, step)})
