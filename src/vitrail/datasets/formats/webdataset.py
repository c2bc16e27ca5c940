"""WebDataset: tar archives ("shards") in which the files of a sample follow each other and share a name.

The index of each shard is made once and kept, so that samples are read at random and in the same order as from a
folder, without streaming through the archives.

References
----------
github.com/webdataset/webdataset: the name of a sample is the path up to the first dot of the file's name, the rest
says what the file is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.class_file import find_class_file
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.files import PairedFiles
from vitrail.datasets.files_path import FilesPath, FilesTree, Place
from vitrail.datasets.formats.drawn import wanted_root
from vitrail.datasets.own_masks import describe, describe_masks
from vitrail.datasets.pairs import Pair
from vitrail.datasets.remote_storage import RemoteFolder, open_remote_archive
from vitrail.datasets.splits import complete_splits, pick_split, split_name
from vitrail.datasets.storage import Archive, Tar, disk_stamp
from vitrail.datasets.tar_index import kept_index
from vitrail.errors import DatasetError
from vitrail.files.remote import remote_address

IMAGES = ("jpg", "jpeg", "webp", "image.jpg", "image.png", "img.jpg", "img.png", "image", "tif", "tiff", "png")
MASKS = ("mask.png", "seg.png", "label.png", "segmentation.png", "annotation.png", "mask", "seg", "png")
_SPLITS = ("train", "val", "test", "trainval")
_SHARD = re.compile(r"(?:.*[-_])?\d{3,}\.tar")
_THREADS = 16  # that open shards


class Shards:
    """The files of several tar archives as "SHARD/PATH".

    Parameters
    ----------
    archives : mapping from str to Archive
        By their paths.
    where : str
        The folder of the shards, for messages.
    """

    def __init__(self, archives: Mapping[str, Archive], where: str) -> None:
        self.archives = dict(archives)
        self.where = where

    def below(self, folder: str) -> list[str]:
        """Return the files in `folder` and its subfolders."""
        prefix = f"{folder.rstrip('/')}/" if folder else ""
        every = (f"{shard}/{name}" for shard, archive in self.archives.items() for name in archive.names)
        return sorted(name for name in every if name.startswith(prefix))

    def has(self, name: str) -> bool:
        """Return whether a file exists."""
        archive, inner = self._split(name)
        return archive is not None and archive.has(inner)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return self._found(name)[0].read(self._split(name)[1])

    def start(self, name: str, size: int) -> bytes:
        """Return the first bytes of a file."""
        return self._found(name)[0].start(self._split(name)[1], size)

    def locate(self, name: str) -> str:
        """Return the archive, and the path inside it."""
        archive, inner = self._split(name)
        return self.where if archive is None else archive.locate(inner)

    def stamp(self, name: str) -> str:
        """Return size and version of the archive."""
        archive, inner = self._split(name)
        return "missing" if archive is None else archive.stamp(inner)

    def _split(self, name: str) -> tuple[Archive | None, str]:
        end = name.find(".tar/") + len(".tar")
        return self.archives.get(name[:end]), name[end + 1 :]

    def _found(self, name: str) -> tuple[Archive, str]:
        archive, inner = self._split(name)
        if archive is None:
            raise DatasetError(f"{self.where} has no file {name}")
        return archive, inner


class IndexedTar(Tar):
    """A .tar archive on the disk whose index is kept."""

    def _index(self, path: Path) -> dict[str, tuple[int, int]]:
        return kept_index(f"{path.resolve()}\n{disk_stamp(path)}", lambda: super(IndexedTar, self)._index(path))


@register_dataset("webdataset", remote=True)
def webdataset(
    root: Path | None,
    split: str,
    *,
    images: str = "",
    masks: str = "",
    coloured: bool | None = None,
    val_fraction: float | None = None,
    split_seed: int = 0,
) -> tuple[Benchmark, PairedFiles]:
    """WebDataset: tar archives of images and masks, on the disk or in object storage, read at random.

    Parameters
    ----------
    root : Path
        The folder of the archives, or its address; classes.yaml or classes.txt in it names the classes.
    split : str
        "train", "val", "test" or "all": how the names of the archives begin ("train-000000.tar"), or their folders'.
    images, masks : str
        What stands behind the first dot of the names of images and of masks, such as "jpg" and "seg.png"; empty takes
        the usual ones that the samples have.
    coloured, val_fraction, split_seed
        As in the dataset "folder".

    Raises
    ------
    DatasetError
        When there are no archives, or samples without an image or a mask.
    """
    root = wanted_root(root, "webdataset") if root is None or remote_address(root) is None else root
    place, archives = _open(root)
    files = Shards(archives, str(place))
    ends = _ends(archives, images, masks, str(place))
    splits: dict[str, list[Pair]] = {}
    for shard, archive in archives.items():
        splits.setdefault(_split_of(shard), []).extend(_pairs(shard, archive, *ends))
    complete = complete_splits(splits, val_fraction, split_seed)
    pairs = pick_split(place, complete, split)
    given = find_class_file(place)
    classes, reader = describe_masks(files, [pair.mask for pair in complete["all"]], given, coloured)
    return describe("webdataset", place, classes), PairedFiles(files, pairs, reader)


def recognise(root: Path) -> str | None:
    """Return what was found, or None when there are no archives with numbers in their names."""
    shards = [path for path in (*root.glob("*.tar"), *root.glob("*/*.tar")) if _SHARD.fullmatch(path.name)]
    return f"{len(shards)} tar archives of a WebDataset" if shards else None


def _open(root: Path) -> tuple[Place, dict[str, Archive]]:
    """Return the folder of the shards, and the shards by their paths in it."""
    address = remote_address(root)
    place: Place = root if address is None else FilesPath(FilesTree(RemoteFolder(address)))
    if isinstance(place, FilesPath):
        names = sorted(name for name in place.tree.names if name.endswith(".tar"))
    else:
        names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.tar"))
    if not names:
        raise DatasetError(f"{place} holds no .tar archives")

    def opened(name: str) -> Archive:
        return IndexedTar(root / name) if address is None else open_remote_archive(f"{address}/{name}")

    with ThreadPoolExecutor(_THREADS if address else 1) as pool:
        return place, dict(zip(names, pool.map(opened, names), strict=True))


def _split_of(shard: str) -> str:
    """Return the split of a shard: its folder, where that has the name of one, or else how its own name begins."""
    *folders, name = shard.split("/")
    known = [split_name(folder) for folder in folders if split_name(folder) in _SPLITS]
    return known[-1] if known else split_name(name.partition("-")[0].partition(".")[0])


def _key(name: str) -> tuple[str, str]:
    """Return the name of the sample that a file belongs to, and what the file is."""
    folder, slash, file = name.rpartition("/")
    start, _, end = file.partition(".")
    return f"{folder}{slash}{start}", end.lower()


def _ends(archives: Mapping[str, Archive], images: str, masks: str, where: str) -> tuple[str, str]:
    """Return what the names of images and of masks end with, by the first sample."""
    names = next((list(archive.names) for archive in archives.values() if archive.names), [])
    first = [end for key, end in map(_key, names) if key == _key(names[0])[0]]
    mask = _chosen([masks.lower()] if masks else MASKS, first, "masks", where)
    others = [end for end in first if end != mask]
    return _chosen([images.lower()] if images else IMAGES, others, "images", where), mask


def _chosen(known: Sequence[str], present: Sequence[str], what: str, where: str) -> str:
    found = [end for end in known if end in present]
    if not found:
        raise DatasetError(
            f"{where}: the first sample has no file of {what}: it has {', '.join(present) or 'none'}. Name what stands "
            f"behind the first dot of their names with data.options.{what}"
        )
    return found[0]


def _pairs(shard: str, archive: Archive, image: str, mask: str) -> list[Pair]:
    samples: dict[str, dict[str, str]] = {}
    for name in archive.names:
        key, end = _key(name)
        if end in (image, mask):
            samples.setdefault(key, {})[end] = name
    lacking = [(key, found) for key, found in samples.items() if len(found) < 2]
    if lacking:
        key, found = lacking[0]
        raise DatasetError(
            f"{archive.locate(key)} has no .{mask if image in found else image}, as {len(lacking)} of {len(samples)} "
            "samples of this archive: complete the archive or leave these samples out"
        )
    stem = shard.removesuffix(".tar")
    return [
        Pair(f"{stem}/{key}", f"{shard}/{found[image]}", f"{shard}/{found[mask]}") for key, found in samples.items()
    ]
