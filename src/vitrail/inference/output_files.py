"""Where the pictures of predictions go: names apart from one another, and what happens to files that are there."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias, get_args

from vitrail.errors import PredictionError
from vitrail.files.outputs import and_more
from vitrail.inference.prediction import Kind
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
    folder : Path
        Gets the pictures, `<name of the frame>_<kind>.png`.
    kinds : sequence of {"overlay", "colour", "index"}
        Which pictures.
    existing : {"refuse", "overwrite", "skip"}
        What happens where one of them exists; "skip" leaves out the frames that have them all.
    on_skip : callable
        Called with the name of a frame that is left out.

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
        folder: Path,
        kinds: Sequence[Kind],
        existing: Existing,
        on_skip: Callable[[str], None],
    ) -> None:
        if existing not in get_args(Existing):
            raise PredictionError(f"existing is one of {', '.join(get_args(Existing))}, not {existing!r}")
        self.num_frames = frames.num_frames
        self._frames, self._folder, self._kinds, self._existing = frames, folder, kinds, existing
        self._on_skip = on_skip
        self._inputs = set(input_files(frames))
        if is_listed(frames):
            self._check([path for _, files in self._named() for path in files.values()])

    def __iter__(self) -> Iterator[Frame]:
        for frame, files in self._named():
            self._check(list(files.values()))
            if self._existing == "skip" and all(map(is_written, files.values())):
                self._on_skip(frame.id)
            else:
                yield frame

    def files(self, name: str) -> dict[Kind, Path]:
        """Return the files of a frame by kind of picture."""
        return {kind: self._inside(name, kind) for kind in self._kinds}

    def _named(self) -> Iterator[tuple[Frame, Mapping[Kind, Path]]]:
        names: set[str] = set()
        for number, frame in enumerate(self._frames):
            name = _free_name(_short(frame.id or f"image{number:04d}"), names)
            for kind in get_args(Kind) if self._inputs else ():
                path = self._folder / f"{name}_{kind}.png"
                if path.resolve() in self._inputs:
                    raise PredictionError(
                        f"a picture would replace the input {path}, or that is the picture of an earlier prediction: "
                        "choose another output folder"
                    )
            yield dataclasses.replace(frame, id=name), self.files(name)

    def _inside(self, name: str, kind: Kind) -> Path:
        path = self._folder / f"{name}_{kind}.png"
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise PredictionError(f"the image name {name!r} leads out of the folder {self._folder}")
        return path

    def _check(self, paths: Sequence[Path]) -> None:
        """Refuse pictures that exist."""
        taken = [path for path in paths if os.path.lexists(path)] if self._existing == "refuse" else []
        if taken:
            raise PredictionError(
                f"{taken[0]} exists{and_more(len(taken))}: --skip-existing (existing='skip') keeps what is there and "
                "goes on with the rest, --overwrite (existing='overwrite') replaces it; or choose another output folder"
            )


def is_written(path: Path) -> bool:
    """Return whether a picture is there; after a power failure there may be an empty file in its place."""
    return path.is_file() and path.stat().st_size > 0


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
    last = os.fsencode(PurePosixPath(name).name)
    if len(last) <= _LONGEST:
        return name
    cut = last[:_LONGEST].decode("utf-8", "ignore")
    return str(PurePosixPath(name).with_name(f"{cut}-{hashlib.sha256(last).hexdigest()[:8]}"))
