"""Frames and frame sources: where images to segment come from, one after the other, and the registry of such sources.

A source is what a name on the command line opens: a folder of images, a video, a camera. A package adds one:

    @register_frame_source("npy-stack", suffixes=(".npy-stack",))
    class NpyStack:
        def __init__(self, where: str) -> None:
            self.stack = np.load(where, mmap_mode="r")  # [N, H, W, 3]
            self.num_frames = len(self.stack)

        def __iter__(self):
            for index, pixels in enumerate(self.stack):
                yield Frame.of_pixels(pixels, id=f"{index:06d}")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from vitrail.datasets.image_files import pillow_bands
from vitrail.datasets.pixel_format import RGB, PixelFormat
from vitrail.errors import DatasetError, PredictionError
from vitrail.files.home import expand_home
from vitrail.inference.georeference import GeoTags
from vitrail.registry import Registry, first_line

Pixels: TypeAlias = "Image.Image | np.ndarray | Tensor"


@dataclass(frozen=True)
class Frame:
    """One image, read when it is needed.

    Attributes
    ----------
    id : str
        Name of the frame, such as the file's name without its suffix; parts of a path are separated by "/". Empty for
        pixels in memory.
    read : callable
        Returns the image as uint8 RGB [3, H, W]; raises a VitrailError that names the file. It is called once, perhaps
        after the source has moved on to later frames.
    read_as : callable, optional
        Returns the image with the channels and the range of values of a `PixelFormat`, uint8 [C, H, W], for sources
        that have more than RGB.
    georeference : callable, optional
        Returns the georeference of the image, for files that may have one; see `vitrail.inference.georeference`.
    """

    id: str
    read: Callable[[], Tensor]
    read_as: Callable[[PixelFormat], Tensor] | None = None
    georeference: Callable[[], GeoTags | None] | None = None

    def pixels(self, wanted: PixelFormat) -> Tensor:
        """Return the image, uint8 [C, H, W], as a model wants it.

        Raises
        ------
        VitrailError
            When it cannot be read, or does not have the channels.
        """
        if self.read_as is not None:
            return self.read_as(wanted)
        image = self.read()
        if image.shape[0] == wanted.channels and wanted.value_range is None:
            return image
        return as_pixels(image, wanted, self.id)

    @classmethod
    def of_pixels(cls, pixels: Pixels, *, id: str = "") -> Frame:
        """Return a frame of pixels in memory: [H, W, C] in arrays, [C, H, W] in tensors; grey may be [H, W]."""
        return cls(id, lambda: as_pixels(pixels, RGB, id), lambda wanted: as_pixels(pixels, wanted, id))

    @classmethod
    def of_image(cls, image: Tensor, *, id: str = "") -> Frame:
        """Return a frame of an image, uint8 [C, H, W], that has been read in the format of the model already."""
        return cls(id, lambda: image, lambda wanted: image)


@dataclass(frozen=True)
class MissingFrame(Frame):
    """The last frame of a source that ends too early: reading it raises the error that says so."""


@runtime_checkable
class FrameSource(Protocol):
    """An iterable of frames.

    Attributes
    ----------
    num_frames : int or None
        Number of frames; None when it is unknown or the source never ends.
    """

    num_frames: int | None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order."""
        ...


Opener = TypeVar("Opener", bound=Callable[[str], FrameSource])


@dataclass(frozen=True)
class FrameSourceKind:
    """A registered kind of frame source.

    Attributes
    ----------
    open : callable
        Opens what a user named, such as a path or an address.
    suffixes : tuple of str
        Ends of names that this kind opens, in lower case, such as ".mp4".
    schemes : tuple of str
        Beginnings of names that it opens, without the colon, such as "rtsp".
    """

    open: Callable[[str], FrameSource]
    suffixes: tuple[str, ...]
    schemes: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line that says what it opens."""
        return first_line(self.open)


FRAME_SOURCES: Registry[FrameSourceKind] = Registry("frame source", PredictionError, "vitrail.inference.sources")


def register_frame_source(
    name: str, *, suffixes: tuple[str, ...] = (), schemes: tuple[str, ...] = ()
) -> Callable[[Opener], Opener]:
    """Register `(where: str) -> FrameSource`, a function or a class, under `name`.

    Parameters
    ----------
    name : str
        The name of the kind; `NAME:WHERE` on the command line opens WHERE with it, whatever its suffix.
    suffixes : tuple of str
        Ends of names that it opens, such as (".mp4", ".mkv"); upper and lower case are the same.
    schemes : tuple of str
        Beginnings of names that it opens, without the colon, such as ("rtsp",) for "rtsp://camera"; the opener gets the
        whole name.
    """

    def decorator(opener: Opener) -> Opener:
        kind = FrameSourceKind(opener, tuple(suffix.lower() for suffix in suffixes), tuple(schemes))
        FRAME_SOURCES.add(name, kind, module=opener.__module__)
        return opener

    return decorator


def find_frame_source(where: str) -> tuple[str, str]:
    """Return the name of the kind of source that opens `where`, and what to open with it.

    A file or folder that exists is chosen by its suffix. Otherwise what stands before a colon decides, then the suffix.
    A number alone is a camera. What no kind claims is left to "images".

    Raises
    ------
    PredictionError
        When several kinds claim a name; the message says how to choose.
    """
    name, rest = _claimed(where)
    return name or "images", rest


def names_frames(where: str) -> bool:
    """Return whether a frame source claims `where` by its suffix or by what stands before a colon."""
    return _claimed(where)[0] is not None


def _claimed(where: str) -> tuple[str | None, str]:
    if where.isdecimal() and not expand_home(where).exists():
        return "camera", where
    start, colon, rest = where.partition(":")
    if colon and not expand_home(where).exists():
        by_scheme = [name for name, kind in FRAME_SOURCES.items() if start in kind.schemes]
        if by_scheme:
            return _only(by_scheme, where), where
        if start in FRAME_SOURCES:
            return start, rest
    by_suffix = [name for name, kind in FRAME_SOURCES.items() if where.lower().endswith(kind.suffixes)]
    return (_only(by_suffix, where) if by_suffix else None), where


def _only(names: list[str], where: str) -> str:
    if len(names) > 1:
        origins = ", ".join(f"{name} (of {FRAME_SOURCES.origin(name)})" for name in names)
        choice = " or ".join(f"{name}:{where}" for name in names)
        raise PredictionError(f"several frame sources open {where}: {origins}; write {choice}")
    return names[0]


def as_pixels(image: Pixels, wanted: PixelFormat, name: str = "") -> Tensor:
    """Return pixels in memory as uint8 [C, H, W], without copying where they are that already.

    A file, its array and its Pillow image give the same result.

    Raises
    ------
    PredictionError
        When they are no numbers, have another number of channels, or values that are neither 8-bit nor in a known
        range.
    """
    if isinstance(image, Tensor) and _is_ready(image, wanted):
        return image.as_subclass(Tensor)
    array = _as_array(image, wanted)
    where = repr(name) if name else f"of {array.dtype} {list(array.shape)}"
    if array.dtype.kind not in "buif":
        raise PredictionError(f"the image {where} holds no real numbers: an image is an array of uint8")
    try:
        return torch.from_numpy(wanted.convert(array, where))
    except DatasetError as error:
        raise PredictionError(
            f"{error} (images are [H, W, C] in arrays, [C, H, W] in tensors, and not normalised)"
        ) from error


def _as_array(image: Pixels, wanted: PixelFormat) -> npt.NDArray[Any]:
    """Return pixels as an array [H, W] or [H, W, C], whatever the values."""
    if not isinstance(image, Tensor):
        try:
            return pillow_bands(image, wanted.channels) if isinstance(image, Image.Image) else np.asarray(image)
        except ValueError as error:  # of a picture that has been closed
            raise PredictionError(f"the image cannot be read: {error}") from error
    if image.is_meta or image.is_quantized or image.layout != torch.strided:
        raise PredictionError(
            f"a tensor on {image.device} of {image.dtype}, {image.layout}, is no image: make it dense"
        )
    tensor = image.detach().as_subclass(Tensor).cpu()
    array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return np.moveaxis(array, 0, -1) if array.ndim == 3 else array


def _is_ready(image: Tensor, wanted: PixelFormat) -> bool:
    fits = not image.is_meta and image.layout == torch.strided
    fits = fits and image.ndim == 3 and image.shape[0] == wanted.channels and 0 not in image.shape
    return image.dtype == torch.uint8 and wanted.value_range is None and fits
