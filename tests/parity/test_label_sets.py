"""Class names, colours and counts are those of MMSegmentation 1.2.2 and SSSegmentation 1.7.0."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from parity.references import require_mmseg, require_ssseg
from vitrail.checkpoints.sources.mmseg.datasets import DATASETS as MMSEG
from vitrail.checkpoints.sources.ssseg.datasets import DATASETS as SSSEG
from vitrail.datasets.label_sets import label_set

pytestmark = pytest.mark.parity

# Classes that SSSegmentation spells otherwise, beyond capitals, hyphens and the like: theirs to ours.
SPELLINGS = {
    "COCOVOCSUBDataset": {"airplane": "aeroplane", "motorcycle": "motorbike", "tv": "tvmonitor"},
    "MHPv2Dataset": {"other-accessaries": "other-accessories"},
    "SBUShadowDataset": {"__backgroud__": "background"},
}
OWN_COLOURS = {"DRIVEDataset", "STAREDataset", "HRFDataset", "ChaseDB1Dataset"}  # ours are MMSegmentation's
NO_LABELS = {"BaseSegDataset", "BaseCDDataset", "DSDLSegDataset", "DecathlonDataset"}  # their users bring them
DEPTH = "NYUDataset"
# Configs that metafile.yaml files name and the wheel does not have.
MISPLACED = {
    "configs/deeplabv3plus/ddeeplabv3plus_r101-d16-mg124_4xb2-40k_cityscapes-512x1024.py",
    "configs/emanet/eemanet_r50-d8_4xb2-80k_cityscapes-512x1024.py",
    "configs/poolformer/fpn_poolformer_s36_8xb4-40k_ade20k-512x512.py",
}


def letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def as_tuples(palette: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(colour) for colour in palette)


def mmseg_datasets() -> dict[str, dict[str, Any]]:
    require_mmseg()
    import mmseg.datasets

    return {
        name: entry.METAINFO
        for name, entry in vars(mmseg.datasets).items()
        if inspect.isclass(entry) and hasattr(entry, "METAINFO")
    }


def ssseg_datasets() -> dict[str, Any]:
    require_ssseg()
    from ssseg.modules.datasets.builder import DatasetBuilder

    known = dict(DatasetBuilder.REGISTERED_MODULES)
    del known["BaseDataset"]
    return known


def test_every_dataset_of_mmseg_is_known() -> None:
    assert set(mmseg_datasets()) - set(MMSEG) == {*NO_LABELS, DEPTH}
    assert set(MMSEG) <= set(mmseg_datasets())


@pytest.mark.parametrize("name", MMSEG)
def test_names_and_colours_are_those_of_mmseg(name: str) -> None:
    theirs, ours = mmseg_datasets()[name], label_set(MMSEG[name])
    names = [entry.strip() for entry in theirs["classes"]]  # "bed " and " Optic Cup" are slips
    colours = as_tuples(theirs["palette"])
    if name == "MapillaryDataset_v1":
        assert names.pop() == "Unlabeled", "the label that its models do not answer"
        colours = colours[:-1]
    assert list(ours.classes) == names
    assert ours.palette == colours


def test_every_dataset_of_ssseg_is_known() -> None:
    assert set(SSSEG) == set(ssseg_datasets())


@pytest.mark.parametrize("name", sorted({*SSSEG} - {"MultipleDataset"}))
def test_names_and_colours_are_those_of_ssseg(name: str) -> None:
    theirs, ours = ssseg_datasets()[name], label_set(SSSEG[name])
    if name == "ADE20kDataset":
        names = [entry.split(",")[0] for entry in theirs.classnames]  # the first of several words for the same
    else:
        names = [SPELLINGS.get(name, {}).get(entry, entry) for entry in theirs.classnames]
    assert [letters(entry) for entry in ours.classes] == [letters(entry) for entry in names]
    assert (ours.palette == as_tuples(theirs.palette)) == (name not in OWN_COLOURS)


def test_different_spellings_are_all_needed() -> None:
    for name, spellings in SPELLINGS.items():
        assert set(spellings) <= set(ssseg_datasets()[name].classnames)
        assert all(letters(theirs) != letters(ours) for theirs, ours in spellings.items())


def test_the_mixtures_of_ssseg_keep_the_order_of_voc(configs: Path) -> None:
    datasets = [config["dataset"] for config in json.loads(configs.read_text()).values()]
    mixtures = [dataset for dataset in datasets if dataset["type"] == "MultipleDataset"]
    assert len(mixtures) == 3
    for dataset in mixtures:
        for part in dataset["train"].values():
            assert SSSEG[part["type"]] == SSSEG["MultipleDataset"]
            assert all(int(theirs) == ours for theirs, ours in part["seg_target_remapper"].items())


def test_every_config_of_ssseg_has_as_many_classes_as_its_label_set(configs: Path) -> None:
    published = json.loads(configs.read_text())
    wrong = {
        name: (config["num_classes"], config["dataset"]["type"])
        for name, config in published.items()
        if config["num_classes"] != len(label_set(SSSEG[config["dataset"]["type"]]).classes)
    }
    assert len(published) == 450
    assert not wrong


def published_mmseg_configs() -> dict[str, str]:
    """The configs of the checkpoints that MMSegmentation publishes, and what the model zoo calls their datasets."""
    require_mmseg()
    import mmseg

    found = {}
    for path in sorted((Path(mmseg.__file__).parent / ".mim/configs").glob("*/metafile.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for model in content["Models"] if isinstance(content, dict) else content:
            if model.get("Weights"):
                results = model["Results"]
                found[model["Config"]] = (results[0] if isinstance(results, list) else results)["Dataset"]
    return found


def class_counts(node: Any) -> Iterator[int]:
    """Every `num_classes` anywhere inside a head's config."""
    if isinstance(node, dict):
        if "num_classes" in node:
            yield node["num_classes"]
        for value in node.values():
            yield from class_counts(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from class_counts(value)


@pytest.mark.slow
def test_every_published_config_of_mmseg_has_as_many_classes_as_its_label_set() -> None:
    published = published_mmseg_configs()
    import mmseg
    from mmengine.config import Config

    home = Path(mmseg.__file__).parent / ".mim"
    assert {name for name in published if not (home / name).is_file()} == MISPLACED
    wrong = {}
    for name in sorted({*published} - MISPLACED):
        config = Config.fromfile(home / name, import_custom_modules=False)
        if config.dataset_type == DEPTH:
            continue
        expected = len(label_set(MMSEG[config.dataset_type]).classes)
        if set(class_counts(config.model.decode_head)) != {expected}:
            wrong[name] = (config.dataset_type, sorted(class_counts(config.model.decode_head)))
    assert len(published) > 600
    assert not wrong
