"""The output folder of a run: held by one run at a time, and never overwritten."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from vitrail.checkpoints.native import BEST
from vitrail.errors import TrainingError
from vitrail.files.outputs import check_local
from vitrail.runtime.distributed import on_main

LAST, STATE, PREVIOUS = "last.safetensors", "last.state.pt", "previous.state.pt"
LOGS = ("log.jsonl", "train.log")
LOCK = "run.lock"
UNSAVED = ".unsaved"  # there from the start of a run until its first state is saved


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Context in which no other run can use a folder; every process calls this, and rank 0 holds the lock.

    The system releases the lock when the process ends, however it ends, so that none is ever stale. A run that ends
    before it writes anything leaves nothing behind.

    Raises
    ------
    TrainingError
        When another run holds the lock, or the folder cannot be written to, as an address.
    """
    check_local(folder, TrainingError)
    lock, is_new = FileLock(folder / LOCK), not folder.exists()
    on_main(lambda: _acquire(lock, folder))
    mark = owner(folder)
    try:
        yield
    finally:
        if lock.is_locked and owner(folder) == mark:
            _clean(folder, remove=is_new)
        lock.release()


def owner(folder: Path) -> str | None:
    """Return the mark of the run that holds a folder; None where there is none, or it cannot be read."""
    try:
        return (folder / LOCK).read_text()
    except (OSError, UnicodeDecodeError):  # Windows lets nobody read a locked file
        return None


def other_place(folder: Path) -> Path:
    """Return where a run is saved when its folder is no longer its own: under the same name, when that is free.

    Parameters
    ----------
    folder : Path
        The folder that the run had.
    """
    if not folder.exists():
        return folder
    names = (folder.with_name(f"{folder.name}.saved{number}") for number in itertools.chain([""], itertools.count(2)))
    return next(place for place in names if not place.exists())


def _clean(folder: Path, *, remove: bool) -> None:
    """Remove the lock's file, and where there is nothing else the mark and, if asked, the folder."""
    with contextlib.suppress(OSError):  # the folder may be gone
        (folder / LOCK).unlink(missing_ok=True)
        if [path.name for path in folder.iterdir()] in ([], [UNSAVED]):
            (folder / UNSAVED).unlink(missing_ok=True)
            if remove:
                folder.rmdir()


def _acquire(lock: FileLock, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        with contextlib.suppress(OSError):  # as on Windows, where the lock is enough
            (folder / LOCK).write_text(f"{os.getpid()} {secrets.token_hex(8)}\n")
    except Timeout as error:
        raise TrainingError(
            f"another process is training in {folder} (it holds {folder / LOCK}): wait for it, end it, or choose "
            "another folder"
        ) from error
    except NotImplementedError:  # a file system without locks
        return
    except OSError as error:
        raise TrainingError(f"cannot write to the output folder {folder}: {error}") from error


def can_resume(folder: Path) -> bool:
    """Return whether a folder holds the state of a run."""
    return (folder / STATE).is_file()


def check_output_dir(folder: Path, *, resume: bool) -> None:
    """Check that a run can begin in a folder, or be resumed there, and note that it has not saved anything yet.

    Models of a run that ended before it saved a state are replaced.

    Raises
    ------
    TrainingError
        When there is nothing to resume in `folder`, or something that a new run would overwrite.
    """
    if not can_resume(folder) and (folder / PREVIOUS).is_file():
        raise TrainingError(f"{folder} holds a run whose {STATE} is missing. {way_out_of_damage(folder)}")
    if resume and not can_resume(folder):
        raise TrainingError(
            f"nothing to resume in {folder}: there is no {STATE}. Start the run without --resume; --resume=auto does "
            "what is right in either case"
        )
    taken = [name for name in (STATE, PREVIOUS, LAST, BEST, *LOGS) if (folder / name).exists()]
    if not resume and taken and not ((folder / UNSAVED).exists() and not can_resume(folder)):
        advice = "go on with it (resume=True, --resume)" if STATE in taken else "remove what is there"
        raise TrainingError(f"{folder} already holds a run ({', '.join(taken)}): {advice}, or choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*.part"):  # of a process that was killed while it wrote
            leftover.unlink()
        if not resume:
            (folder / UNSAVED).touch()
    except OSError as error:
        raise TrainingError(f"cannot write to the output folder {folder}: {error}") from error


def keep_previous(folder: Path) -> None:
    """Keep the present state under another name, so that the next one does not replace the only one.

    At no time is there no state: the file gets its second name before it loses the first.
    """
    state, temporary = folder / STATE, folder / f".{PREVIOUS}.part"
    if not state.exists():
        return
    temporary.unlink(missing_ok=True)
    try:
        os.link(state, temporary)
    except OSError:  # a file system without hard links
        return
    os.replace(temporary, folder / PREVIOUS)  # noqa: PTH105 - as in vitrail.files.atomic


def way_out_of_damage(folder: Path) -> str:
    """Return what to do when the state of a run is damaged, for a message."""
    if (folder / PREVIOUS).is_file():
        return f"To go on from the state saved before it: mv {folder / PREVIOUS} {folder / STATE}, and --resume again"
    return f"There is no earlier state: remove {folder} and start the run again"
