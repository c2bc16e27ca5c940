"""The result of segmenting one image."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
from PIL import Image

from vitrail.errors import PredictionError
from vitrail.files.pictures import save_picture
from vitrail.inference.georeference import Affine, GeoTags, crs_name, pixel_to_world, write_geotiff
from vitrail.inference.notebook import interactive_html
from vitrail.inference.polygons import Polygon, Ring, class_polygons
from vitrail.inference.rle import compress, find_runs, run_lengths
from vitrail.visualize import class_counts, colour_mask, index_mask, overlay, with_legend

if TYPE_CHECKING:
    from supervision import Detections

Kind = Literal["overlay", "colour", "index", "geotiff"]
NOTEBOOK_SIDE = 1200  # pixels of the longer side in a notebook


class ClassArea(NamedTuple):
    """The area of one class in an image.

    Attributes
    ----------
    index : int
        The class.
    name : str
        Its name.
    pixels : int
        Number of pixels.
    share : float
        Share of the image, 0…1.
    """

    index: int  # type: ignore[assignment] # hides tuple.index, which is not needed here
    name: str
    pixels: int
    share: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """The segmentation of one image.

    Attributes
    ----------
    mask : ndarray
        Class indices [H, W] at the size of the image; uint8 for up to 255 classes.
    classes : tuple of str
        Class names.
    palette : tuple of (int, int, int)
        One RGB colour per class.
    image : ndarray
        The image, uint8 RGB [H, W, 3].
    id : str
        The image's name: the file without its suffix, empty for images that came from memory.
    scores : ndarray or None
        The probability of each pixel's class, float32 [H, W]; None unless requested.
    georeference : mapping or None
        The TIFF tags that say where on Earth the image lies; None where its file does not.

    Examples
    --------
    >>> prediction = predict("fastscnn_camvid", "street.png")
    >>> prediction.areas()[0].name
    'building'
    >>> prediction.save("street_overlay.png")
    """

    mask: np.ndarray = field(repr=False)
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] = field(repr=False)
    image: np.ndarray = field(repr=False)
    id: str = ""
    scores: np.ndarray | None = field(default=None, repr=False)
    georeference: GeoTags | None = field(default=None, repr=False)

    def overlay(self, alpha: float = 0.5, *, legend: bool = False) -> Image.Image:
        """Return the image with the colours of its classes drawn over it.

        Parameters
        ----------
        alpha : float
            Opacity of the colours, 0…1.
        legend : bool
            Add a legend below: the names of the classes and their shares of the image.
        """
        picture = overlay(self.image, self.mask, self.palette, alpha)
        return with_legend(picture, self.mask, self.classes, self.palette) if legend else picture

    def colour(self) -> Image.Image:
        """Return the mask in the classes' colours."""
        return colour_mask(self.mask, self.palette)

    def index(self) -> Image.Image:
        """Return the mask as an image whose pixel values are class indices.

        Up to 256 classes it is a palette image that shows the classes' colours; with more it has 16 bits per pixel.
        """
        return index_mask(self.mask, self.palette)

    def save(self, path: str | Path, kind: Kind = "overlay", *, alpha: float = 0.5) -> None:
        """Write a picture, whole or not at all; missing folders are created, and a file that is there is replaced.

        Parameters
        ----------
        path : path
            The suffix selects the format; masks need a lossless one, such as .png.
        kind : {"overlay", "colour", "index", "geotiff"}
            The overlay with its legend, the mask in colours, the mask as class indices, or a TIFF file of these with
            the coordinate reference system and the transform of the image.
        alpha : float
            Opacity of the colours in an overlay.

        Raises
        ------
        PredictionError
            For an unknown kind, a format that would change the classes of pixels, or a file that cannot be written; for
            a GeoTIFF of an image without a georeference.
        """
        path = Path(path)
        if kind == "geotiff":
            self._save_geotiff(path)
            return
        if kind == "overlay":
            picture = self.overlay(alpha, legend=True)
        elif kind == "colour":
            picture = self.colour()
        elif kind == "index":
            if path.suffix.lower() not in (".png", ".tif", ".tiff", ".bmp"):
                raise PredictionError(
                    f"class indices do not survive in {path.suffix or 'a file without suffix'}: use .png"
                )
            picture = self.index()
        else:
            raise PredictionError(f"unknown kind of picture {kind!r}: {', '.join(get_args(Kind))}")
        try:
            save_picture(picture, path, photograph=kind == "overlay")
        except (OSError, ValueError) as error:
            raise PredictionError(f"cannot write {path}: {error}") from error

    def _save_geotiff(self, path: Path) -> None:
        if path.suffix.lower() not in (".tif", ".tiff"):
            raise PredictionError(f"a GeoTIFF is a .tif file, not {path}")
        if self.georeference is None:
            raise PredictionError(
                f"the image {self.id!r} has no georeference, so its mask has none: take the kind 'index'"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_geotiff(path, self.mask, self.palette, self.georeference)
        except OSError as error:
            raise PredictionError(f"cannot write {path}: {error}") from error

    def areas(self) -> list[ClassArea]:
        """Return the areas of the classes in the image, the largest first."""
        counts = class_counts(self.mask, len(self.classes))
        found = [
            ClassArea(index, self.classes[index], count, count / self.mask.size)
            for index, count in enumerate(counts)
            if count
        ]
        return sorted(found, key=lambda area: -area.pixels)

    def to_dict(self) -> dict[str, Any]:
        """Return name, size and areas as JSON-ready data."""
        height, width = self.mask.shape
        return {
            "id": self.id,
            "height": height,
            "width": width,
            "areas": [area._asdict() for area in self.areas()],
        }

    def to_coco(self, image_id: int | str | None = None, *, compressed: bool = True) -> list[dict[str, Any]]:
        """Return one COCO annotation for each class in the image, as COCO-Stuff has it.

        Parameters
        ----------
        image_id : int or str, optional
            The "image_id" of every annotation; None takes the image's name.
        compressed : bool
            Write run lengths as COCO's result files do; False gives them as a list of numbers.

        Returns
        -------
        list of dict
            With "image_id", "category_id" (the class index), "category" (its name), "segmentation" (run lengths),
            "area" in pixels, "bbox" (x, y, width, height), "iscrowd", and "score" (the mean probability) where the
            prediction has scores.
        """
        runs = find_runs(self.mask)
        annotations = []
        for area in sorted(self.areas()):
            counts = run_lengths(runs, area.index)
            where = self.mask == area.index
            annotation: dict[str, Any] = {
                "image_id": self.id if image_id is None else image_id,
                "category_id": area.index,
                "category": area.name,
                "segmentation": {"size": list(self.mask.shape), "counts": compress(counts) if compressed else counts},
                "area": area.pixels,
                "bbox": _bounding_box(where),
                "iscrowd": 0,
            }
            if self.scores is not None:
                annotation["score"] = float(self.scores[where].mean(dtype=np.float64))
            annotations.append(annotation)
        return annotations

    def to_polygons(self) -> list[Polygon]:
        """Return the outline of every connected region, by class and the largest first; `Polygon` says how."""
        return [polygon for area in sorted(self.areas()) for polygon in class_polygons(self.mask, area.index)]

    def to_geojson(self) -> dict[str, Any]:
        """Return a GeoJSON FeatureCollection (RFC 7946) with one polygon for each connected region.

        For an image with a georeference, coordinates are those of its reference system, which the collection names in
        its member "crs", as GDAL writes it. Otherwise they are pixels: x to the right, and y upwards from the lower
        left corner of the image, so that maps show it upright. Each feature has the properties "class" (the index),
        "name" and "colour" (#rrggbb).
        """
        known = self.georeference or {}
        place = pixel_to_world(known) or Affine(1, 0, 0, 0, -1, self.mask.shape[0])
        features = []
        for polygon in self.to_polygons():
            red, green, blue = self.palette[polygon.index]
            properties = {
                "class": polygon.index,
                "name": self.classes[polygon.index],
                "colour": f"#{red:02x}{green:02x}{blue:02x}",
            }
            rings = [_geojson_ring(ring, place) for ring in (polygon.exterior, *polygon.holes)]
            geometry = {"type": "Polygon", "coordinates": rings}
            features.append({"type": "Feature", "properties": properties, "geometry": geometry})
        crs = crs_name(known)
        named = {"crs": {"type": "name", "properties": {"name": crs}}} if crs else {}
        return {"type": "FeatureCollection", **named, "features": features}

    def to_supervision(self) -> Detections:
        """Return the `supervision.Detections` with one mask for each class in the image.

        Boxes are those around the masks, "class_name" is in the data, and confidences are the mean probabilities where
        the prediction has scores.

        Raises
        ------
        PredictionError
            Without the library.
        """
        try:
            from supervision import Detections
        except ImportError as error:
            raise PredictionError("this needs supervision: pip install 'vitrail[supervision]'") from error
        found = sorted(area.index for area in self.areas())
        masks = np.stack([self.mask == index for index in found])
        boxes = np.array([_bounding_box(mask) for mask in masks], np.float32)
        boxes[:, 2:] += boxes[:, :2] - 1  # supervision's boxes end with their last pixels
        scores = self.scores
        means = None if scores is None else np.array([scores[mask].mean(dtype=np.float64) for mask in masks])
        return Detections(
            xyxy=boxes,
            mask=masks,
            class_id=np.array(found),
            confidence=means,
            data={"class_name": np.array([self.classes[index] for index in found])},
        )

    def _repr_html_(self) -> str:
        return interactive_html(self.image, self.mask, self.palette, self.areas(), NOTEBOOK_SIDE)

    def _repr_png_(self) -> bytes:
        picture = self.overlay(legend=True)
        picture.thumbnail((NOTEBOOK_SIDE, NOTEBOOK_SIDE))
        file = io.BytesIO()
        picture.save(file, "PNG")
        return file.getvalue()


def _geojson_ring(ring: Ring, place: Affine) -> list[list[float]]:
    """Return a closed ring in coordinates, counterclockwise for exteriors as RFC 7946 asks."""
    closed = [ring[-1], *ring]
    # Exteriors run clockwise on the screen, holes the other way round: the standard wants the opposite.
    return [list(place(x, y)) for x, y in (reversed(closed) if place.keeps_clockwise else closed)]


def _bounding_box(where: np.ndarray) -> list[int]:
    columns, rows = np.flatnonzero(where.any(axis=0)), np.flatnonzero(where.any(axis=1))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]
