"""Opens the root of a dataset: a folder, an archive, a folder of archives, here or in object storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from vitrail.datasets.files_path import FilesPath, FilesTree, Place
from vitrail.datasets.remote_storage import RemoteFolder, open_remote_archive
from vitrail.datasets.storage import Archive, Files, Folder, Subfolder, Tar, UnionFiles, Zip
from vitrail.errors import DatasetError
from vitrail.files.remote import remote_address

ARCHIVES = (".zip", ".tar")
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".gz", ".7z", ".rar")


def open_files(root: Path, landmarks: Sequence[str]) -> Files:
    """Open a folder, an archive, or a folder of archives.

    The data may be one or two folders deeper, as in most official archives.

    Parameters
    ----------
    root : Path
        A folder, or a .zip or uncompressed .tar file; or the address of one, such as s3://bucket/folder.
    landmarks : sequence of str
        Relative paths of files or folders that the data must contain; they decide how deep the data are, and whether
        archives inside the folder are needed. Without any, the folder and all archives in it are read as one.

    Returns
    -------
    Files
        With paths as in `landmarks`.

    Raises
    ------
    DatasetError
        When the root does not exist, is empty, or lacks a landmark.
    """
    address = remote_address(root)
    if address is not None:
        return _open_address(address, landmarks)
    if not root.exists():
        raise DatasetError(
            f"the data root {root} does not exist: "
            "set --data-root (data.root in the recipe) to the dataset's folder or archive"
        )
    if root.is_dir():
        folder = Folder(root)
        depth = _folder_depth(root, landmarks) if landmarks else None
        if depth is not None:
            return Subfolder(folder, depth)
        sources = [_open_archive(path) for path in sorted(root.iterdir()) if path.suffix.lower() in ARCHIVES]
        if not sources and not any(root.iterdir()):
            raise DatasetError(f"the data root {root} is empty: it should hold {_listed(landmarks)}")
        return _joined(folder, sources, str(root), landmarks)
    return _checked_archive(_open_archive(root), str(root), landmarks)


def open_place(root: Path, what: str) -> tuple[Files, Place]:
    """Return the files of a folder or an archive, on the disk or elsewhere, and the place that paths in it begin at.

    Parameters
    ----------
    root : Path
        As in `open_files`. Where it holds one folder and nothing else, it is that folder.
    what : str
        What it should be, for messages.

    Raises
    ------
    DatasetError
        When there is none.
    """
    if remote_address(root) is not None or (root.is_file() and root.suffix.lower() in ARCHIVES):
        files = open_files(root, [])
        tree = FilesTree(files)
        wrapper = next(iter(tree.children[""])) if len(tree.children[""]) == 1 else ""
        if wrapper and wrapper in tree.children:
            files = Subfolder(files, wrapper)
            tree = FilesTree(files)
        return files, FilesPath(tree)
    _refuse_packed(root)
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise DatasetError(f"the data root {root} {state}: set --data-root (data.root in the recipe) to {what}")
    return Folder(root), root


def _refuse_packed(root: Path) -> None:
    if root.is_file() and root.name.lower().endswith(_PACKED):
        raise DatasetError(
            f"the data root {root} is an archive that cannot be read at random: unpack it, or pack it as .zip or "
            "uncompressed .tar"
        )


def _open_address(address: str, landmarks: Sequence[str]) -> Files:
    """Open a folder or an archive in object storage; see `open_files`."""
    if address.lower().endswith(ARCHIVES):
        return _checked_archive(open_remote_archive(address), address, landmarks)
    folder = RemoteFolder(address)
    names = folder.below("")
    if not names:
        raise DatasetError(f"the data root {address} is empty, or does not exist: it should hold {_listed(landmarks)}")
    if landmarks:
        inside = _at_landmark(folder, names, landmarks)
        if not _lacking(inside, landmarks):
            return inside
    packed = [name for name in names if "/" not in name and name.lower().endswith(ARCHIVES)]
    return _joined(folder, [open_remote_archive(folder.locate(name)) for name in packed], address, landmarks)


def _joined(folder: Files, archives: Sequence[Archive], where: str, landmarks: Sequence[str]) -> Files:
    """Return a folder and the archives in it as one storage; a DatasetError says what it lacks."""
    together = UnionFiles([folder, *(_at_landmark(archive, archive.names, landmarks) for archive in archives)])
    missing = _lacking(together, landmarks)
    if missing:
        raise DatasetError(f"the data root {where} lacks {_listed(missing)}: is it the dataset's top folder?")
    return together


def _checked_archive(archive: Archive, where: str, landmarks: Sequence[str]) -> Files:
    files = _at_landmark(archive, archive.names, landmarks)
    missing = _lacking(files, landmarks)
    if missing:
        raise DatasetError(f"the archive {where} lacks {_listed(missing)}: is it the dataset's official archive?")
    return files


def _lacking(files: Files, landmarks: Sequence[str]) -> list[str]:
    return [mark for mark in landmarks if not files.has(mark) and not files.below(mark)]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names)


def _open_archive(path: Path) -> Archive:
    _refuse_packed(path)
    if path.suffix.lower() == ".zip":
        return Zip(path)
    if path.suffix.lower() == ".tar":
        return Tar(path)
    raise DatasetError(f"the data root {path} is neither a folder nor a .zip or .tar archive")


def _folder_depth(root: Path, landmarks: Sequence[str]) -> str | None:
    level = [root]
    for _ in range(3):
        for folder in level:
            if all((folder / mark).exists() for mark in landmarks):
                return "" if folder == root else folder.relative_to(root).as_posix()
        level = [child for folder in level for child in sorted(folder.iterdir()) if child.is_dir()]
        if len(level) > 100:  # the folders of the data themselves, not a wrapper around them
            break
    return None


def _at_landmark(files: Files, names: Iterable[str], landmarks: Sequence[str]) -> Files:
    for name in names:
        padded = f"/{name}/"
        for mark in landmarks:
            at = padded.find(f"/{mark}/")
            if at >= 0 and name[:at].count("/") <= 2:
                return Subfolder(files, name[: max(at - 1, 0)])
    return files
