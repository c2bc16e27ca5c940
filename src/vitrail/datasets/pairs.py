"""Images with their masks, found by the patterns in a benchmark's description."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vitrail.datasets.benchmark import Split
from vitrail.datasets.storage import Files
from vitrail.errors import DatasetError

ANYWHERE = "**/"  # the beginning of a pattern that is looked for in every folder
_FIELD = re.compile(r"(\{id\}|\{folder\}|\*\*/)")


@dataclass(frozen=True)
class Pair:
    """An image file and its mask file.

    Attributes
    ----------
    id, image, mask : str
        The image's id and the paths of the files; an empty `mask` where none is published.
    second_image : str
        A second image, whose channels follow those of the first; empty for none.
    more_masks : tuple of str
        Masks that lie on `mask`, where they are not 0.
    """

    id: str
    image: str
    mask: str
    second_image: str = ""
    more_masks: tuple[str, ...] = ()


def find_pairs(files: Files, part: Split) -> list[Pair]:
    """Return the images of a split with their masks, in the order of its list, or of their names.

    Raises
    ------
    DatasetError
        When a listed image or a mask is missing, or two files have the same id.
    """
    ids = list(_ids(files, part))
    images = _Named(files, part.images, part.id_pattern).of(ids, "images")
    second = [""] * len(ids)
    if part.second_images:
        second = _Named(files, part.second_images, part.id_pattern).of(ids, "images")
    masks = _masks(files, part, ids)
    return [
        Pair("/".join(id), image, found[0] if found else "", other, tuple(found[1:]))
        for id, image, other, found in zip(ids, images, second, masks, strict=True)
    ]


def fixed_folder(pattern: str) -> str:
    """Return the folder of a pattern such as "JPEGImages/{id}.jpg" that does not depend on the id."""
    return "" if pattern.startswith(ANYWHERE) else pattern.split("{", 1)[0].rpartition("/")[0]


Id = tuple[str, ...]  # (id,) or (folder, id)


def _ids(files: Files, part: Split) -> Iterator[Id]:
    if isinstance(part.ids, tuple):
        yield from ((id,) for id in part.ids)
    elif part.ids is None:
        yield from _found(files, part)
    elif "{folder}" in part.images:
        yield from _in_listed_folders(files, part, part.ids)
    else:
        yield from ((id,) for id in _listed(files, part, part.ids))


def _listed(files: Files, part: Split, listing: str) -> Iterator[str]:
    path = re.compile(r"(?:.*/)?" + _regex(part.images, part.id_pattern).pattern)
    name = _regex(part.images.rpartition("/")[2], part.id_pattern)
    for column in _first_columns(files, listing):
        match = path.fullmatch(column) or name.fullmatch(column)
        yield match["id"] if match else column


def _found(files: Files, part: Split) -> Iterator[Id]:
    pattern = _regex(part.images, part.id_pattern)
    for name in files.below(fixed_folder(part.images)):
        match = pattern.fullmatch(name)
        if match:
            yield _id(match)


def _in_listed_folders(files: Files, part: Split, listing: str) -> Iterator[Id]:
    inside: dict[str, list[Id]] = {}
    for id in _found(files, part):
        inside.setdefault(id[0], []).append(id)
    folders = _first_columns(files, listing)
    missing = [folder for folder in folders if folder not in inside]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(folders)} folders that {files.locate(listing)} lists hold no image, such as "
            f"{missing[0]}: is the download complete?"
        )
    for folder in folders:
        yield from inside[folder]


def _first_columns(files: Files, listing: str) -> list[str]:
    lines = files.read(listing).decode("utf-8", errors="replace").splitlines()
    return [line.split()[0] for line in lines if line.strip()]


def _id(match: re.Match[str]) -> Id:
    folder = match.groupdict().get("folder")
    return (match["id"],) if folder is None else (folder, match["id"])


def _regex(pattern: str, id_pattern: str) -> re.Pattern[str]:
    groups = {"{id}": f"(?P<id>{id_pattern})", "{folder}": "(?P<folder>.+)", ANYWHERE: "(?:.*/)?"}
    return re.compile("".join(groups.get(piece, re.escape(piece)) for piece in _FIELD.split(pattern)))


class _Named:
    """The files of one pattern, by id."""

    def __init__(self, files: Files, pattern: str, id_pattern: str) -> None:
        self.files = files
        self.pattern = pattern
        self.id_pattern = id_pattern

    def of(self, ids: Sequence[Id], what: str) -> list[str]:
        """Return the file of each id, or raise a DatasetError that counts those that are missing."""
        if self.pattern.startswith(ANYWHERE):
            by_id = self._anywhere()
            names = [by_id.get(id, self.pattern.replace(ANYWHERE, "").format(id=id[-1])) for id in ids]
            present = set(by_id.values())
        else:
            names = [self.pattern.format(folder=id[0], id=id[-1]) for id in ids]
            present = set(self.files.below(fixed_folder(self.pattern)))
        missing = [name for name in names if name not in present]
        if missing:
            raise DatasetError(
                f"{len(missing)} of {len(names)} {what} are missing, such as {self.files.locate(missing[0])}: "
                "is the download complete?"
            )
        return names

    def _anywhere(self) -> dict[Id, str]:
        pattern = _regex(self.pattern, self.id_pattern)
        by_id: dict[Id, str] = {}
        for name in self.files.below(""):
            match = pattern.fullmatch(name)
            if not match:
                continue
            first = by_id.setdefault(_id(match), name)
            if first != name:
                raise DatasetError(
                    f"{self.files.locate(first)} and {self.files.locate(name)} are both {match['id']}: keep one of them"
                )
        return by_id


def _masks(files: Files, part: Split, ids: Sequence[Id]) -> list[list[str]]:
    if part.masks is None:
        return [[] for _ in ids]
    if not part.masks.endswith("*.png"):
        return [[name] for name in _Named(files, part.masks, part.id_pattern).of(ids, "masks")]
    before, between = part.masks.removesuffix("*.png").split("{id}")
    found: dict[str, list[str]] = {id[-1]: [] for id in ids}
    for name in files.below(fixed_folder(part.masks)):
        middle = name.removeprefix(before).removesuffix(".png")
        ends = [match.start() for match in re.finditer(re.escape(between), middle)]
        owner = next((middle[:end] for end in reversed(ends) if middle[:end] in found), None)
        if owner is not None and name.startswith(before) and name.endswith(".png"):
            found[owner].append(name)
    missing = [id for id, names in found.items() if not names]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(ids)} images have no mask, such as "
            f"{files.locate(part.masks.format(id=missing[0]))}: is the download complete?"
        )
    return [found[id[-1]] for id in ids]
