"""Writing a corrected copy of a user's own images and masks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from vitrail.datasets.class_file import ClassFile, find_class_file
from vitrail.datasets.folder import find_pairs
from vitrail.datasets.image_files import load_pixels, open_image, turn_upright
from vitrail.datasets.mask_encoding import replace_values
from vitrail.datasets.mask_files import ColourMasks, IndexMasks, MaskReader
from vitrail.datasets.own_masks import describe_masks
from vitrail.datasets.pairs import Pair
from vitrail.datasets.repairs import APART, black_and_white, grey_values
from vitrail.datasets.storage import Files
from vitrail.datasets.write import empty_folder
from vitrail.errors import DatasetError
from vitrail.files.home import expand_home
from vitrail.files.printable import printable
from vitrail.files.yaml_file import dump_yaml
from vitrail.labels import IGNORE, is_wide
from vitrail.visualize import index_mask
from vitrail.visualize.palette import distinct_colours

Array = npt.NDArray[Any]

_ORIENTATION = 0x0112  # of EXIF
_TURNS: dict[int, Callable[[Array], Array]] = {  # what makes an image of each orientation upright
    2: lambda mask: mask[:, ::-1],
    3: lambda mask: mask[::-1, ::-1],
    4: lambda mask: mask[::-1],
    5: lambda mask: mask.T,
    6: lambda mask: np.rot90(mask, -1),
    7: lambda mask: mask[::-1, ::-1].T,
    8: lambda mask: np.rot90(mask),
}
_MIDDLE = 128
_NAMES = ("background", "thing")
_BLACK_AND_WHITE = {0: 0, IGNORE: 1}  # the labels of two classes that are black and white


@dataclass(frozen=True)
class Fixed:
    """What was written.

    Attributes
    ----------
    images : int
        Number of images with their masks.
    repaired : tuple of str
        The masks whose values were changed, and what was done.
    turned : tuple of str
        The images that were written upright, without EXIF data.
    left_out : tuple of str
        Why a pair was not written.
    """

    images: int
    repaired: tuple[str, ...]
    turned: tuple[str, ...]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        """Return it as a few lines."""
        lines = [f"{self.images} images and masks were written"]
        for what, listed in (("masks repaired", self.repaired), ("images turned upright", self.turned)):
            if listed:
                lines.append(f"{len(listed)} {what}, such as {listed[0]}")
        return "\n".join([*lines, *(f"left out: {reason}" for reason in self.left_out)])


def write_fixed(
    root: str | Path, output_dir: str | Path, *, options: dict[str, Any] | None = None, turn_masks: bool = False
) -> Fixed:
    """Write a corrected copy of the dataset "folder": upright images, masks of class indices as PNG, classes.yaml.

    Greys on the edges of black-and-white masks become the nearer of the two, colours and values that lossy compression
    changed become the nearest class, masks in an alpha channel are taken from there, masks of the size that their image
    has before EXIF data turn it are turned, too, those of another size but the same shape get their image's size by the
    nearest pixel, and pairs that cannot be used are left out.

    Parameters
    ----------
    root : path
        The dataset.
    output_dir : path
        A folder that is new or empty, and neither in the dataset nor around it.
    options : dict, optional
        Keyword arguments of the dataset "folder".
    turn_masks : bool
        Turn masks as the EXIF data turn their images even where their sizes do not tell that they need it.

    Raises
    ------
    DatasetError
        When the dataset cannot be opened, or the folder cannot be written to.
    """
    root, folder = expand_home(root), empty_folder(expand_home(output_dir))
    if folder.resolve().is_relative_to(root.resolve()) or root.resolve().is_relative_to(folder.resolve()):
        raise DatasetError(f"{folder} and the dataset {root} lie in one another: write beside the dataset")
    chosen = dict(options or {})
    coloured = chosen.pop("coloured", None)
    known = inspect.signature(find_pairs).parameters
    files, place, splits = find_pairs(root, **{key: value for key, value in chosen.items() if key in known})
    masks = [pair.mask for pair in splits["all"]]
    classes, reader = _describe(files, masks, find_class_file(place), coloured)
    parts = {name: pairs for name, pairs in splits.items() if name != "all"} or {"train": splits["all"]}
    work = _Copy(files, folder, classes, reader, turn_masks=turn_masks)
    try:
        for name, pairs in parts.items():
            for pair in tqdm(pairs, desc=printable(f"write {name}"), unit="img", disable=None, leave=False):
                work.write(pair, name)
        if not work.images:
            raise DatasetError("no pair of image and mask can be used:\n" + "\n".join(work.left_out[:10]))
        described: dict[str, Any] = {"classes": list(classes.classes)}
        if classes.palette is not None:
            described["palette"] = [list(colour) for colour in classes.palette]
        (folder / "classes.yaml").write_text(dump_yaml(described), encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"cannot write the dataset to {folder}: {error}") from error
    return Fixed(work.images, tuple(work.repaired), tuple(work.turned), tuple(work.left_out))


def _describe(
    files: Files, masks: Sequence[str], given: ClassFile | None, coloured: bool | None
) -> tuple[ClassFile, MaskReader]:
    """Return classes and reader of masks; those of 0 and 255 for masks without a description that have other values."""
    if coloured is None and given is not None and given.palette is not None and given.values is None:
        with open_image(files.read(masks[0]), files.locate(masks[0])) as first:
            coloured = True if first.format in ("JPEG", "WEBP") and first.mode == "RGB" else None
    try:
        classes, reader = describe_masks(files, masks, given, coloured)
    except DatasetError:
        if given is not None or not black_and_white(files, masks):
            raise
        return ClassFile(classes=_NAMES, values=(0, IGNORE)), IndexMasks(_BLACK_AND_WHITE, 2)
    two = len(classes.classes) == 2 and classes.values is None and isinstance(reader, IndexMasks)
    if two and black_and_white(files, masks):
        return replace_values(classes, (0, IGNORE)), IndexMasks(_BLACK_AND_WHITE, 2)
    return classes, reader


class _Copy:
    """The copy while it is written."""

    def __init__(self, files: Files, folder: Path, classes: ClassFile, reader: MaskReader, *, turn_masks: bool) -> None:
        self.files, self.folder, self.classes, self.reader = files, folder, classes, reader
        self.turn_masks = turn_masks
        self.palette = classes.palette or distinct_colours(len(classes.classes))
        self.dtype = np.int16 if is_wide(len(classes.classes)) else np.uint8
        self.images = 0
        self.repaired: list[str] = []
        self.turned: list[str] = []
        self.left_out: list[str] = []

    def write(self, pair: Pair, split: str) -> None:
        """Write an image and its mask, or note why not."""
        where = self.files.locate(pair.mask)
        try:
            with open_image(self.files.read(pair.image), self.files.locate(pair.image)) as image:
                load_pixels(image, self.files.locate(pair.image))
                stored, turn = (image.height, image.width), image.getexif().get(_ORIENTATION, 1)
                turn_upright(image)
                mask, done = self._mask(self.files.read(pair.mask), where)
                upright = (image.height, image.width)
                if turn != 1 and (self.turn_masks or (_fits(mask, stored) and not _fits(mask, upright))):
                    mask, done = _TURNS.get(turn, np.asarray)(mask), _joined(done, "turned as its image")
                if mask.shape != upright:
                    if not _fits(mask, upright):
                        raise DatasetError(f"{where} is {_size(mask.shape)}, but its image {_size(upright)}")
                    done = _joined(done, f"made {_size(upright)} from {_size(mask.shape)} by the nearest pixel")
                    mask = _resized(mask, upright)
                self._save_image(image, pair, split, turned=turn != 1)
        except DatasetError as error:
            self.left_out.append(str(error))
            return
        path = self.folder / "masks" / split / f"{pair.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        index_mask(mask, self.palette).save(path)
        self.images += 1
        if done:
            self.repaired.append(f"{where} ({done})")

    def _save_image(self, image: Image.Image, pair: Pair, split: str, *, turned: bool) -> None:
        suffix = Path(pair.image).suffix.lower()
        path = self.folder / "images" / split / f"{pair.id}{'.png' if turned else suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if turned:
            image.info.pop("exif", None)
            image.save(path, exif=Image.Exif())
            self.turned.append(self.files.locate(pair.image))
        else:
            path.write_bytes(self.files.read(pair.image))

    def _mask(self, data: bytes, where: str) -> tuple[Array, str]:
        """Return class indices [H, W], and what was done to get them; an empty text for nothing."""
        alpha = self._alpha(data, where)
        if alpha is not None:
            return (alpha >= _MIDDLE).astype(np.uint8), "taken from its alpha channel"
        binary = isinstance(self.reader, IndexMasks) and self.reader.labels == _BLACK_AND_WHITE
        if binary:
            values = grey_values(data, where)
            greys = (values > 0) & (values < IGNORE)
            return (values >= _MIDDLE).astype(np.uint8), "greys became black or white" if greys.any() else ""
        try:
            return self.reader(data, where).numpy(), ""
        except DatasetError:
            return self._nearest(data, where), "values became those of the nearest class"

    def _alpha(self, data: bytes, where: str) -> Array | None:
        """Return the alpha channel of a mask of two classes that differs in nothing else."""
        with open_image(data, where) as image:
            if image.mode not in ("LA", "RGBA") or len(self.classes.classes) != 2:
                return None
            load_pixels(image, where)
            values = np.asarray(image)
        same = (values[..., :-1] == values[0, 0, :-1]).all()
        return values[..., -1] if same and values[..., -1].min() < values[..., -1].max() else None

    def _nearest(self, data: bytes, where: str) -> Array:
        if isinstance(self.reader, ColourMasks):
            known = np.array(list(self.reader.colours), np.int32)
            indices = np.array(list(self.reader.colours.values()), self.dtype)
            with open_image(data, where) as image:
                load_pixels(image, where)
                turn_upright(image)
                colours = np.asarray(image.convert("RGB")).astype(np.int32)
            distances = np.stack([((colours - colour) ** 2).sum(-1) for colour in known])
            return indices[distances.argmin(0)]
        labels = self.reader.labels if isinstance(self.reader, IndexMasks) else {}
        values = np.array(sorted(labels), np.int32)
        if len(values) < 2 or np.diff(values).min() < APART:
            raise DatasetError(f"{where} holds values that are no class, and the classes are too near to guess which")
        grey = grey_values(data, where).astype(np.int32)
        nearest = values[np.abs(grey[None] - values[:, None, None]).argmin(0)]
        found: Array = np.vectorize(labels.__getitem__, otypes=[self.dtype])(nearest)
        return found


def _fits(mask: Array, size: tuple[int, int]) -> bool:
    """Return whether a mask has the height and width of an image, or their ratio but for less than a pixel."""
    height, width = mask.shape
    return abs(height * size[1] - width * size[0]) < max(*size, height, width)


def _resized(mask: Array, size: tuple[int, int]) -> Array:
    """Return a mask of another height and width, each pixel with the value of the nearest one."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64) for new, old in zip(size, mask.shape, strict=True)
    )
    return mask[rows[:, None], columns]


def _size(size: tuple[int, ...]) -> str:
    return f"{size[1]}×{size[0]}"


def _joined(first: str, then: str) -> str:
    return f"{first}, {then}" if first else then
