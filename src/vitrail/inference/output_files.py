"""Where the pictures of predictions go: names apart from one another, and what happens to files that are there."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal, TypeAlias, get_args

from vitrail.errors import PredictionError
from vitrail.files.output_folder import OutputFolder
from vitrail.files.outputs import and_more
from vitrail.inference.prediction import Kind
from vitrail.inference.shards import EVERYTHING, Shard
from vitrail.inference.sources import Frame, FrameSource
from vitrail.inference.sources.opening import input_files, is_listed

Existing: TypeAlias = Literal["refuse", "overwrite", "skip"]

_LONGEST = 200  # bytes of a name without its ending; file systems take 255


class OutputFrames:
    """The frames of a source whose pictures are to be written, each named apart from all others.

    Parameters
    ----------
    frames : FrameSource
        All frames.
    folder : OutputFolder
        Gets the pictures, `<name of the frame>_<kind>.png`, .tif for GeoTIFF files.
    kinds : sequence of {"overlay", "colour", "index", "geotiff"}
        Which pictures.
    existing : {"refuse", "overwrite", "skip"}
        What happens where one of them exists; "skip" leaves out the frames that have them all.
    on_skip : callable
        Called with the name of a frame that is left out.
    shard : Shard
        The part of the frames to take. Names are given to all of them, so that they do not depend on the parts.
    is_done : callable
        Whether everything that is not a file of its own is there for the frame of a name; asked for "skip".

    Raises
    ------
    PredictionError
        Before anything is computed, as far as names are known in advance, and else when it is the frame's turn: where a
        picture exists that may not be replaced, would replace an image that is read or lie outside the folder, and
        where an image that is read looks like a picture of another one.
    """

    def __init__(
        self,
        frames: FrameSource,
        folder: OutputFolder,
        kinds: Sequence[Kind],
        existing: Existing,
        on_skip: Callable[[str], None],
        shard: Shard = EVERYTHING,
        is_done: Callable[[str], bool] = lambda name: True,
    ) -> None:
        if existing not in get_args(Existing):
            raise PredictionError(f"existing is one of {', '.join(get_args(Existing))}, not {existing!r}")
        self._frames, self._folder, self._kinds, self._existing = frames, folder, kinds, existing
        self._on_skip, self._shard, self._is_done = on_skip, shard, is_done
        self._inputs = folder.identities(input_files(frames))
        self.num_frames = frames.num_frames if shard.count == 1 else None
        if is_listed(frames):
            self.num_frames = 0
            taken: list[str] = []
            for _, files in self._named():
                self.num_frames += 1
                taken += self._taken(files)
            refuse_taken(self._folder, taken)

    def __iter__(self) -> Iterator[Frame]:
        for frame, files in self._named():
            refuse_taken(self._folder, self._taken(files))
            if (
                self._existing == "skip"
                and all(map(self._folder.is_written, files.values()))
                and self._is_done(frame.id)
            ):
                self._on_skip(frame.id)
            else:
                yield frame

    def files(self, name: str) -> dict[Kind, str]:
        """Return the names of the files of a frame in the folder, by kind of picture."""
        return {kind: self._inside(name, kind) for kind in self._kinds}

    def _named(self) -> Iterator[tuple[Frame, Mapping[Kind, str]]]:
        """Yield the frames of the shard, named apart from those of all shards."""
        names: set[str] = set()
        for number, frame in enumerate(self._frames):
            own_name = frame.id or f"image{number:04d}"
            name = _free_name(_short(own_name), names)
            if not self._shard.holds(own_name):
                continue
            for kind in get_args(Kind) if self._inputs else ():
                picture = _file_name(name, kind)
                if self._folder.identity(picture) in self._inputs:
                    raise PredictionError(
                        f"a picture would replace the input {self._folder.locate(picture)}, or that is the picture of "
                        "an earlier prediction: choose another output folder"
                    )
            yield dataclasses.replace(frame, id=name), self.files(name)

    def _inside(self, name: str, kind: Kind) -> str:
        file = _file_name(name, kind)
        if not self._folder.contains(file):
            raise PredictionError(f"the image name {name!r} leads out of the folder {self._folder.locate()}")
        return file

    def _taken(self, files: Mapping[Kind, str]) -> list[str]:
        """Return the pictures that exist and may not be replaced."""
        return list(filter(self._folder.taken, files.values())) if self._existing == "refuse" else []


def refuse_taken(folder: OutputFolder, taken: Sequence[str]) -> None:
    """Raise a PredictionError that names the first of some files that exist and may not be replaced, if there are any.

    Parameters
    ----------
    folder : OutputFolder
        Where they are.
    taken : sequence of str
        Their names.
    """
    if taken:
        raise PredictionError(
            f"{folder.locate(taken[0])} exists{and_more(len(taken))}: --skip-existing (existing='skip') keeps what is "
            "there and goes on with the rest, --overwrite (existing='overwrite') replaces it; or choose another output "
            "folder"
        )


def _file_name(name: str, kind: Kind) -> str:
    return f"{name}_{kind}{'.tif' if kind == 'geotiff' else '.png'}"


def _free_name(name: str, taken: set[str]) -> str:
    """Return `name`, or `name-2`, `name-3`… when it is taken, and mark it as taken.

    Names that differ in upper and lower case only are one file on some systems.
    """
    free, number = name, 1
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free.casefold())
    return free


def _short(name: str) -> str:
    """Return a name whose last part leaves room for an ending; what is cut off is replaced by a hash."""
    if len(name) <= _LONGEST // 4:
        return name
    last = os.fsencode(PurePosixPath(name).name)
    if len(last) <= _LONGEST:
        return name
    cut = last[:_LONGEST].decode("utf-8", "ignore")
    return str(PurePosixPath(name).with_name(f"{cut}-{hashlib.sha256(last).hexdigest()[:8]}"))
