"""classes.yaml, classes.txt and labelmap.txt: descriptions of the classes of a user's own masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError, model_validator

from vitrail.datasets.files_path import Place, read_place
from vitrail.datasets.text_files import read_text
from vitrail.errors import DatasetError, nearest
from vitrail.files.yaml_file import MAX_BYTES, YamlDocument, decode_yaml
from vitrail.labels import IGNORE, MAX_CLASSES, WIDE_IGNORE_IN_FILES, ignore_index, is_wide
from vitrail.visualize.palette import parse_hex_colour


def _as_colour(value: Any) -> Any:
    """Return a colour [255, 0, 0] as a tuple; without quotes, YAML would take "#ff0000" for a comment."""
    if isinstance(value, str) and (colour := parse_hex_colour(value)):
        raise ValueError(f"{value!r} is no colour here: write {list(colour)}")
    numbers = isinstance(value, list | tuple) and len(value) == 3 and all(type(part) is int for part in value)
    if not numbers or not all(0 <= part <= 255 for part in value):
        raise ValueError(f"{value!r} is no colour: write [red, green, blue], each 0 to 255")
    return tuple(value)


def _as_value(value: Any) -> Any:
    if type(value) is not int or not 0 <= value < 1 << 16:
        raise ValueError(f"{value!r} is no mask value: write a whole number from 0 to 65535")
    return value


def _as_ignored(value: Any) -> Any:
    return _as_value(value) if isinstance(value, int) else _as_colour(value)


def _as_name(value: Any) -> Any:
    """Return a class name; YAML reads a bare no, yes, on, off, ~ or 3 as something else than text."""
    if isinstance(value, dict | list):
        raise ValueError(f"{value!r} is no class name: list the names alone, and their colours under 'palette'")
    if not isinstance(value, str):
        raise ValueError(
            f"{value!r} is no class name: YAML takes a bare word such as true, null or 3 for a value, so put the name "
            "into quotes"
        )
    return value


Colour = tuple[int, int, int]


def _as_list(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{value!r} is no list: write it as [first, second]")
    return value


def _as_list_or_none(value: Any) -> Any:
    return None if value is None else _as_list(value)


GivenColour = Annotated[Colour, BeforeValidator(_as_colour)]
GivenValue = Annotated[int, BeforeValidator(_as_value)]
Ignored = Annotated[int | Colour, BeforeValidator(_as_ignored)]
Name = Annotated[str, BeforeValidator(_as_name), StringConstraints(strip_whitespace=True, min_length=1)]


_OTHER_NAMES = {  # of the keys, in other programs
    **{"names": "classes", "labels": "classes", "colors": "palette", "colours": "palette", "ids": "values"},
    **{"ignore_index": "ignore", "void": "ignore"},
}


class ClassFile(BaseModel):
    """The classes of a folder of masks.

    Attributes
    ----------
    classes : tuple of str
        Names, by class index.
    palette : tuple of (int, int, int), optional
        One RGB colour per class, [red, green, blue]. Coloured masks are read with it.
    values : tuple of int, optional
        The mask value of each class; the default is 0, 1, 2, ….
    ignore : tuple of int or of (int, int, int)
        Mask values, or colours in coloured masks, that are ignored. 255 always is, unless it is a class's value, and
        so is 65535 where there are more than 255 classes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: Annotated[tuple[Name, ...], BeforeValidator(_as_list)]
    palette: Annotated[tuple[GivenColour, ...] | None, BeforeValidator(_as_list_or_none)] = None
    values: Annotated[tuple[GivenValue, ...] | None, BeforeValidator(_as_list_or_none)] = None
    ignore: Annotated[tuple[Ignored, ...], BeforeValidator(_as_list)] = ()

    @model_validator(mode="after")
    def _agree(self) -> ClassFile:
        if not self.classes:
            raise ValueError("there are no classes")
        if len(self.classes) > MAX_CLASSES:
            raise ValueError(
                f"there are {len(self.classes)} classes, but there can be {MAX_CLASSES} at most: merge some of them"
            )
        name, times = Counter(self.classes).most_common(1)[0]
        if times > 1:
            raise ValueError(f"the class {name!r} is listed {times} times: each class needs a name of its own")
        for name in ("palette", "values"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.classes):
                raise ValueError(f"there are {len(self.classes)} classes but {len(given)} entries in {name}")
            if given is not None and len(set(given)) < len(given):
                raise ValueError(f"{name} has an entry twice")
        return self

    def labels(self) -> dict[int, int]:
        """Return the class index of each mask value."""
        usual = (IGNORE, WIDE_IGNORE_IN_FILES) if is_wide(len(self.classes)) else (IGNORE,)
        label = ignore_index(len(self.classes))
        ignored = {value: label for value in (*usual, *self.ignore) if isinstance(value, int)}
        values = self.values or range(len(self.classes))
        return {**ignored, **{value: index for index, value in enumerate(values)}}

    def colours(self) -> dict[Colour, int]:
        """Return the class index of each mask colour."""
        label = ignore_index(len(self.classes))
        ignored = {colour: label for colour in self.ignore if not isinstance(colour, int)}
        return {**ignored, **{colour: index for index, colour in enumerate(self.palette or ())}}


def has_class_file(root: Place) -> bool:
    """Return whether a folder has a description of classes that `find_class_file` reads."""
    return _class_file(root) is not None


def find_class_file(root: Place) -> ClassFile | None:
    """Read classes.yaml, else classes.txt (one name per line), else labelmap.txt, in a folder; None if there is none.

    Raises
    ------
    DatasetError
        When the file cannot be read or is not a valid description.
    """
    path = _class_file(root)
    if path is None:
        return None
    read = {"classes.txt": read_names, "labelmap.txt": read_label_map}.get(path.name, read_class_yaml)
    return read(path)


def _class_file(root: Place) -> Place | None:
    paths = (root / name for name in ("classes.yaml", "classes.yml", "classes.txt", "labelmap.txt"))
    return next((path for path in paths if path.is_file()), None)


def read_class_yaml(path: Place) -> ClassFile:
    """Return the classes that a YAML file describes, such as `classes.yaml`; a DatasetError names its mistakes."""
    document = decode_yaml(read_place(path, DatasetError, MAX_BYTES), str(path), DatasetError)
    data: Any = document.data
    if isinstance(data, list):
        data = {"classes": data}
    if not isinstance(data, dict):
        raise DatasetError(f"{path} should be a mapping with the key 'classes', a list of names")
    for key in data:
        if key not in ClassFile.model_fields:
            meant = _OTHER_NAMES.get(str(key).lower())
            hint = f" Did you mean {meant!r}?" if meant else nearest(str(key), ClassFile.model_fields)
            raise DatasetError(
                f"{path} has an unknown key {key!r}.{hint} It can have: {', '.join(ClassFile.model_fields)}."
            )
    _check_names(data.get("classes"), document, path)
    return class_file_of(_numbered(data), path)


def _numbered(data: dict[str, Any]) -> dict[str, Any]:
    """Return a description whose classes may be {0: background, 1: bee}: the value in the masks, and the name."""
    names = data.get("classes")
    if not isinstance(names, dict) or data.get("values") is not None or not all(type(value) is int for value in names):
        return data
    usual = sorted(names) == list(range(len(names)))
    return {**data, "classes": [names[value] for value in sorted(names)], "values": None if usual else sorted(names)}


def _check_names(names: Any, document: YamlDocument, path: Place) -> None:
    """Refuse names that other readers of the file take for true or false, as YAML 1.1 does with a bare yes or no."""
    listed = names if isinstance(names, list) else names.values() if isinstance(names, dict) else ()
    for name in listed:
        if isinstance(name, str) and name in document.ambiguous:
            raise DatasetError(
                f"{path}: classes: a bare {name} is no class name: many programs read it as true or false, so put it "
                f"into quotes, '{name}'"
            )


def _first(error: ValidationError) -> str:
    detail = error.errors()[0]
    place = ".".join(str(part) for part in detail["loc"])
    message = str(detail["msg"]).removeprefix("Value error, ").replace("valid tuple", "list")
    return f"{place}: {message}" if place else message


def read_names(path: Place) -> ClassFile:
    """Read a list of names, one a line; raises a DatasetError when there is none, or one twice."""
    names: Sequence[str] = [line.strip() for line in read_text(path).splitlines()]
    names = [name for name in names if name]
    if not names:
        raise DatasetError(f"{path} is empty: it should hold one class name per line")
    return class_file_of({"classes": tuple(names)}, path)


def read_label_map(path: Place) -> ClassFile:
    """Read the list of classes and colours that CVAT writes: lines of the form "label:red,green,blue:parts:actions".

    Raises
    ------
    DatasetError
        When the file cannot be read or has another form.
    """
    names, colours = [], []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, rest = line.partition(":")
        parts = rest.partition(":")[0].split(",")
        if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
            raise DatasetError(
                f"{path}, line {number}: {line!r} should have the form label:red,green,blue:parts:actions"
            )
        names.append(name.strip())
        colours.append([int(part) for part in parts])
    return class_file_of({"classes": names, "palette": colours}, path)


def class_file_of(data: Any, path: Place) -> ClassFile:
    """Return the classes that the keys and values of a file describe; a DatasetError names the file and its mistake."""
    try:
        return ClassFile.model_validate(data)
    except ValidationError as error:
        raise DatasetError(f"{path}: {_first(error)}") from error
