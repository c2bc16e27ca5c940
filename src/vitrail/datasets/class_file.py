"""classes.txt and classes.yaml: descriptions of the classes of a user's own masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from vitrail.errors import DatasetError, nearest
from vitrail.files.yaml_file import read_yaml
from vitrail.labels import IGNORE

Colour = tuple[int, int, int]


class ClassFile(BaseModel):
    """The classes of a folder of masks.

    Attributes
    ----------
    classes : tuple of str
        Names, by class index.
    palette : tuple of (int, int, int), optional
        One RGB colour per class. Coloured masks are read with it.
    values : tuple of int, optional
        The mask value of each class; the default is 0, 1, 2, ….
    ignore : tuple of int or of (int, int, int)
        Mask values, or colours in coloured masks, that are ignored. 255 always is, unless it is a class's value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: tuple[str, ...]
    palette: tuple[Colour, ...] | None = None
    values: tuple[int, ...] | None = None
    ignore: tuple[int | Colour, ...] = ()

    @model_validator(mode="after")
    def _agree(self) -> ClassFile:
        if not self.classes:
            raise ValueError("there are no classes")
        for name in ("palette", "values"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.classes):
                raise ValueError(f"there are {len(self.classes)} classes but {len(given)} entries in {name}")
            if given is not None and len(set(given)) < len(given):
                raise ValueError(f"{name} has an entry twice")
        return self

    def labels(self) -> dict[int, int]:
        """Return the class index of each mask value."""
        ignored = {value: IGNORE for value in (IGNORE, *self.ignore) if isinstance(value, int)}
        values = self.values or range(len(self.classes))
        return {**ignored, **{value: index for index, value in enumerate(values)}}

    def colours(self) -> dict[Colour, int]:
        """Return the class index of each mask colour."""
        ignored = {colour: IGNORE for colour in self.ignore if not isinstance(colour, int)}
        return {**ignored, **{colour: index for index, colour in enumerate(self.palette or ())}}


def find_class_file(root: Path) -> ClassFile | None:
    """Read classes.yaml, or else classes.txt (one name per line), in a folder; None if there is neither.

    Raises
    ------
    DatasetError
        When the file cannot be read or is not a valid description.
    """
    for name in ("classes.yaml", "classes.yml"):
        if (root / name).is_file():
            return _read_yaml(root / name)
    if (root / "classes.txt").is_file():
        return _read_names(root / "classes.txt")
    return None


def _read_yaml(path: Path) -> ClassFile:
    data: Any = read_yaml(path, DatasetError).data
    if isinstance(data, list):
        data = {"classes": data}
    if not isinstance(data, dict):
        raise DatasetError(f"{path} should be a mapping with the key 'classes', a list of names")
    for key in data:
        if key not in ClassFile.model_fields:
            raise DatasetError(
                f"{path} has an unknown key {key!r}.{nearest(str(key), ClassFile.model_fields)} "
                f"It can have: {', '.join(ClassFile.model_fields)}."
            )
    try:
        return ClassFile.model_validate(data)
    except ValidationError as error:
        raise DatasetError(f"{path}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    detail = error.errors()[0]
    place = ".".join(str(part) for part in detail["loc"])
    return f"{place}: {detail['msg']}" if place else str(detail["msg"]).removeprefix("Value error, ")


def _read_names(path: Path) -> ClassFile:
    try:
        names: Sequence[str] = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    names = [name for name in names if name]
    if not names:
        raise DatasetError(f"{path} is empty: it should hold one class name per line")
    return ClassFile(classes=tuple(names))
