"""Datasets of Hugging Face by their names on the hub, and as `save_to_disk` writes them, with the library `datasets`.

Parquet files that were downloaded are read by the dataset "parquet", without that library.

References
----------
huggingface.co/docs/datasets/semantic_segmentation
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.class_file import ClassFile, class_file_of, find_class_file
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.files import PairedFiles
from vitrail.datasets.formats.json_file import read_json
from vitrail.datasets.formats.parquet import IMAGE_COLUMNS, MASK_COLUMNS, find_column
from vitrail.datasets.own_masks import describe, describe_masks
from vitrail.datasets.pairs import Pair
from vitrail.datasets.splits import complete_splits, pick_split, split_name
from vitrail.datasets.storage import disk_stamp
from vitrail.errors import DatasetError
from vitrail.files.environment import env_switch, whole_number
from vitrail.files.regular import check_regular, read_regular

_ADDRESS = re.compile(r"hf:/+(?:datasets/)?(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?/?")
_SAVED = ("dataset_dict.json", "state.json")
_NAMES = "id2label.json"


class HuggingFaceFiles:
    """The images in the columns of a dataset of Hugging Face as files, "SPLIT/ROW/COLUMN".

    Parameters
    ----------
    title : str
        What the dataset is called in messages.
    splits : mapping from str to datasets.Dataset
        Its splits, whose images are not decoded.
    folders : sequence of Path, optional
        Where the files are that cells may name by their paths; None is anywhere. Tables of strangers could name any
        file of this machine.
    """

    def __init__(self, title: str, splits: Mapping[str, Any], folders: Sequence[Path] | None = None) -> None:
        self.title = title
        self.splits = splits
        self.folders = folders

    def below(self, folder: str) -> list[str]:
        """Return the names of the splits; cells are found by their pairs."""
        return sorted(self.splits)

    def has(self, name: str) -> bool:
        """Return whether the split of a cell exists."""
        return name.split("/", 1)[0] in self.splits

    def read(self, name: str) -> bytes:
        """Return the content of the image in a cell; it may be in a file beside the table."""
        split, row, column = name.split("/", 2)
        cell = self.splits[split][int(row)][column]
        content, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (None, None)
        if content is None and path:
            if self.folders is not None and not any(Path(path).resolve().is_relative_to(each) for each in self.folders):
                raise DatasetError(f"{self.title}: {name} names the file {path}, which was not downloaded with it")
            return read_regular(Path(path), DatasetError)
        if not isinstance(content, bytes):
            raise DatasetError(f"{self.title}: {name} holds no image")
        return content

    def start(self, name: str, size: int) -> bytes:
        """Return the first bytes of the image in a cell."""
        return self.read(name)[:size]

    def locate(self, name: str) -> str:
        """Return the table's file, whose name changes with its content, and the cell in it."""
        split = self.splits.get(name.split("/", 1)[0])
        files = split.cache_files if split is not None else ()
        return f"{files[0]['filename'] if files else self.title}:{name}"

    def stamp(self, name: str) -> str:
        """Return size and time of change of the table's file."""
        return disk_stamp(Path(self.locate(name).removesuffix(f":{name}")))


@register_dataset("hugging_face", remote=True)
def hugging_face(
    root: Path | None,
    split: str,
    *,
    config: str = "",
    images: str = "",
    masks: str = "",
    classes: Sequence[str] = (),
    coloured: bool | None = None,
    val_fraction: float | None = None,
    split_seed: int = 0,
) -> tuple[Benchmark, PairedFiles]:
    """A dataset of Hugging Face: by its name on the hub, or a folder that `save_to_disk` wrote.

    The cache, the token and the address of the hub are those of Hugging Face's own libraries.

    Parameters
    ----------
    root : Path
        "hf://ORG/NAME" or "hf://ORG/NAME@REVISION", or a folder of `save_to_disk`.
    split : str
        "train", "val", "test" or "all".
    config : str
        The configuration of a dataset on the hub that has several.
    images, masks : str
        The columns; empty takes the usual names, such as "image" and "label".
    classes : sequence of str
        Names of the values 0, 1, 2, …. Empty takes those of `id2label.json` on the hub, or of classes.yaml or
        classes.txt in the folder; without these, the classes are the values in the masks.
    coloured, val_fraction, split_seed
        As in the dataset "folder".

    Raises
    ------
    DatasetError
        When the library `datasets` is not installed, or the dataset cannot be loaded or has no such columns.
    """
    if root is None:
        raise DatasetError(
            "the dataset 'hugging_face' needs hf://ORG/NAME or a folder of save_to_disk: give it as --data-root "
            "(data.root in the recipe)"
        )
    address = _ADDRESS.fullmatch(root.as_posix())
    if address is not None:
        title, loaded = f"hf://{address['name']}", _from_hub(address["name"], address["revision"], config)
    else:
        title, loaded = str(root), _from_disk(root)
    columns = {name: _columns(title, table, images, masks) for name, table in loaded.items()}
    tables = {name: _undecoded(title, loaded[name], columns[name]) for name in loaded}
    files = HuggingFaceFiles(title, tables, None if address is None else _downloads())
    parts: dict[str, list[Pair]] = {}
    for name, (image, mask) in columns.items():
        cells = range(len(loaded[name]))
        pairs = [Pair(f"{name}/{row:06d}", f"{name}/{row}/{image}", f"{name}/{row}/{mask}") for row in cells]
        parts.setdefault(split_name(name), []).extend(pairs)
    splits = complete_splits(parts, val_fraction, split_seed)
    chosen = pick_split(root, splits, split)
    given = class_file_of({"classes": list(classes)}, root) if classes else _described(root, address)
    found, reader = describe_masks(files, [pair.mask for pair in splits["all"]], given, coloured)
    return describe("hugging_face", root, found), PairedFiles(files, chosen, reader)


def hub_address(root: Path) -> str | None:
    """Return a root that names a dataset on the hub as "hf://ORG/NAME", of which a path has one slash; else None."""
    path = root.as_posix()
    return f"hf://{path.removeprefix('hf:').lstrip('/')}" if _ADDRESS.fullmatch(path) else None


def recognise(root: Path) -> str | None:
    """Return what was found, or None for what is no folder that `save_to_disk` wrote."""
    return "a dataset that save_to_disk wrote" if any((root / name).is_file() for name in _SAVED) else None


def import_datasets() -> Any:
    """Return the library `datasets`; a DatasetError says how to install it."""
    try:
        import datasets
    except ImportError as error:
        raise DatasetError("datasets of Hugging Face need its library: pip install 'vitrail[data]'") from error
    return datasets


def _from_hub(name: str, revision: str | None, config: str) -> Mapping[str, Any]:
    library = import_datasets()
    if env_switch("VITRAIL_OFFLINE"):
        library.config.HF_HUB_OFFLINE = True  # only the cache is read, as with HF_HUB_OFFLINE=1
    try:
        loaded: Mapping[str, Any] = library.load_dataset(name, config or None, revision=revision)
    except (OSError, ValueError, RuntimeError, library.exceptions.DatasetsError) as error:
        lines = str(error).splitlines()[:2]  # the second one lists the configurations
        several = f" {lines[-1]}. Name it with data.options.config" if "Config name is missing" in str(error) else ""
        raise DatasetError(f"hf://{name} cannot be loaded: {_first_line(error)}.{several}") from error
    return loaded


def _downloads() -> list[Path]:
    """Return the folders that Hugging Face's libraries download to."""
    from huggingface_hub.constants import HF_HUB_CACHE

    config = import_datasets().config
    return [Path(folder).expanduser().resolve() for folder in (HF_HUB_CACHE, config.HF_DATASETS_CACHE)]


def _from_disk(root: Path) -> Mapping[str, Any]:
    if recognise(root) is None:
        raise DatasetError(
            f"{root} is neither hf://ORG/NAME nor a folder that save_to_disk wrote: set --data-root (data.root in the "
            "recipe); parquet files are read with data.dataset=parquet"
        )
    library = import_datasets()
    for path in (root / name for name in (*_SAVED, "dataset_info.json")):
        if path.exists():
            check_regular(path, DatasetError)
    try:
        loaded = library.load_from_disk(str(root))
    except Exception as error:  # a damaged folder makes the library raise almost anything
        raise DatasetError(f"{root} cannot be loaded: {_first_line(error)}") from error
    return loaded if isinstance(loaded, Mapping) else {"all": loaded}


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")


def _columns(title: str, table: Any, images: str, masks: str) -> tuple[str, str]:
    names = table.column_names
    return (
        find_column(title, names, images, IMAGE_COLUMNS, "images"),
        find_column(title, names, masks, MASK_COLUMNS, "masks"),
    )


def _undecoded(title: str, table: Any, columns: tuple[str, str]) -> Any:
    """Return a table of the two columns alone, whose cells are the content of image files."""
    image = import_datasets().Image
    wrong = next((name for name in columns if not isinstance(table.features[name], image)), None)
    if wrong is not None:
        raise DatasetError(f"{title}: the column {wrong!r} holds no images but {table.features[wrong]}")
    table = table.select_columns(list(columns))
    for name in columns:
        table = table.cast_column(name, image(decode=False))
    return table


def _described(root: Path, address: re.Match[str] | None) -> ClassFile | None:
    """Return what a dataset says of its classes; None when it says nothing."""
    if address is None:
        return find_class_file(root)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    try:
        file = hf_hub_download(
            address["name"],
            _NAMES,
            repo_type="dataset",
            revision=address["revision"],
            local_files_only=env_switch("VITRAIL_OFFLINE"),
        )
    except (EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError):
        return None
    names = read_json(Path(file))
    if not isinstance(names, dict) or any(whole_number(value) is None for value in names):
        raise DatasetError(f"{file} should give a name to each value: name the classes with data.options.classes")
    values = sorted(names, key=int)
    described = {"classes": [names[value] for value in values], "values": list(map(int, values))}
    return class_file_of(described, Path(file))
