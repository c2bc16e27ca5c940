"""Folders of Hugging Face's transformers: config.json, weights, and usually preprocessor_config.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from vitrail.checkpoints.cards import card_from_recipe
from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.complete import complete_section
from vitrail.checkpoints.hub import WEIGHTS
from vitrail.checkpoints.index.identify import differences
from vitrail.checkpoints.sources.encoder import as_given, model_config
from vitrail.checkpoints.sources.renaming import Renaming, State
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.source import register_source
from vitrail.checkpoints.sources.transformers.models import MODELS
from vitrail.checkpoints.sources.transformers.preprocessing import data_of, evaluation_of, is_blue_first, processor_of
from vitrail.checkpoints.sources.transformers.records import ModelRecord, Translation
from vitrail.checkpoints.sources.transformers.settings import settings_of
from vitrail.checkpoints.sources.writing import CARD_KEY, model_to_write, written_card
from vitrail.datasets.label_sets import label_set, list_label_sets
from vitrail.errors import CheckpointError
from vitrail.files.atomic import atomic_files
from vitrail.files.json_text import parse_json
from vitrail.recipes import ModelConfig
from vitrail.segmentors import ModelCard, Segmentor

NAME = "transformers"
_PROCESSOR = "preprocessor_config.json"
# Of OneFormer's authors, by those of ADE20K's benchmark.
_OTHER_WORDS = {
    "window": "windowpane",
    "tub": "bathtub",
    "rail": "railing",
    "street lamp": "streetlight",
    "tv": "television receiver",
    "plane": "airplane",
    "clothes": "apparel",
    "pool": "swimming pool",
    "falls": "waterfall",
    "trash can": "ashcan",
}
_STEM = "backbone.encoder.stem.conv.weight"  # of MobileViT, the only one that gets images with blue first


@register_source(NAME)
class Transformers:
    """Folders that `save_pretrained` of transformers wrote, as they lie on the Hugging Face hub."""

    title = "transformers"
    suffixes: tuple[str, ...] = ()

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Return whether a config.json beside the weights describes a model of the package."""
        if "vitrail" in checkpoint.metadata or checkpoint.origin.name not in WEIGHTS:
            return False
        config = checkpoint.config
        return config is not None and "model_type" in config

    def translate(self, checkpoint: Checkpoint, card: ModelCard | None) -> tuple[ModelCard, State]:
        """Return the card and the weights; see `Source`."""
        where = str(checkpoint.origin.parent / "config.json")
        if card is not None:
            raise CheckpointError(f"{where} says how the model is built: leave out like=… (--like on the command line)")
        config = checkpoint.config or {}
        try:
            model = translate_config(config, where)
        except (TypeError, ValueError, LookupError, AttributeError) as error:  # a value of another type
            raise CheckpointError(f"{where} is not one of transformers ({type(error).__name__}: {error})") from error
        classes = class_names(config, where)
        state = model.renaming.to_ours(checkpoint.tensors, str(checkpoint.origin))
        if _STEM in state and is_blue_first(checkpoint.beside(_PROCESSOR) or {}):
            state[_STEM] = state[_STEM].flip(1)  # of convolutions [D, 3, k, k]: here images are red, green and blue
        own = _own_card(checkpoint)
        if own is not None and own.classes == classes:
            return own, state
        section = model_config(
            model.segmentor,
            model.encoder,
            len(classes),
            model.options,
            model.auxiliary,
            [[{"name": "cross_entropy"}]],
            where,
        )
        processor, path = _processor(checkpoint)
        recipe = {
            "name": checkpoint.origin.parent.name,
            "model": as_given(section),
            "data": {"dataset": dataset_of(classes), **data_of(processor, path)},
            "train": {"iterations": "auto"},
            "evaluation": {**evaluation_of(processor, path), "resize_once": model.resize_once},
        }
        return card_from_recipe(recipe, source=self.title, license="", classes=classes), state

    def write(self, model: Segmentor, path: Path) -> str:
        """Write config.json, model.safetensors and preprocessor_config.json to a folder; see `Writer`."""
        card, section, state = model_to_write(model)
        config, record, renaming = written_config(card, section)
        processor, unlike = processor_of(card, record.processor)
        tensors = renaming.to_theirs(state, f"the model for {path}")
        weights = {name: value.contiguous() for name, value in tensors.items()}
        # transformers reads the format in the header and passes over the rest
        header = {"format": "pt", CARD_KEY: json.dumps(card.to_dict())}
        try:
            with atomic_files(path / WEIGHTS[0]) as file:
                save_file(weights, file, metadata=header)
                file.with_name("config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
                file.with_name(_PROCESSOR).write_text(json.dumps(processor, indent=2), encoding="utf-8")
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"cannot write {path}: {error}") from error
        said = f"{record.architecture}.from_pretrained loads it"
        return f"{said}; {record.processor}: {', '.join(unlike)}" if unlike else said


def translate_config(config: Mapping[str, Any], where: str) -> Translation:
    """Return the model that a config.json describes.

    Raises
    ------
    UnsupportedError
        When vitrail does not compute the same.
    """
    kind = config.get("model_type")
    if kind not in MODELS:
        raise UnsupportedError(f"{where}: vitrail has no model like transformers' {kind}; it has {', '.join(MODELS)}")
    record = MODELS[kind]
    architecture = record.architecture
    named = config.get("architectures") or [architecture]
    if architecture not in named:
        raise UnsupportedError(f"{where} describes {named[0]}, not a model of semantic segmentation ({architecture})")
    settings = settings_of(config, where)
    model = record.translate(settings)
    settings.finish()
    return model


def written_config(card: ModelCard, section: ModelConfig) -> tuple[dict[str, Any], ModelRecord, Renaming]:
    """Return the config.json of a model, what it is there, and the renaming of its tensors.

    Parameters
    ----------
    card : ModelCard
        Of the model.
    section : ModelConfig
        How it is built, with every option of its method.

    Raises
    ------
    UnsupportedError
        When transformers has no model that computes the same; the message says what differs.
    """
    name = (section.backbone or "").partition(".")[0]
    kinds = [kind for kind, record in MODELS.items() if record.segmentor == section.segmentor]
    kind = next((kind for kind in kinds if re.fullmatch(MODELS[kind].backbones, name)), kinds[0] if kinds else None)
    if kind is None:
        methods = ", ".join(dict.fromkeys(record.segmentor for record in MODELS.values() if record.segmentor))
        raise UnsupportedError(
            f"transformers has no method like vitrail's {section.segmentor!r}; vitrail writes {methods} for it"
        )
    if section.num_classes == 1 and len(card.classes) == 2:
        raise UnsupportedError("transformers has no models that tell two classes apart by one output")
    record = MODELS[kind]
    assert record.describe is not None  # it names the method that it is written from
    names = dict(enumerate(card.classes))
    config = {
        "model_type": kind,
        "architectures": [record.architecture],
        **record.describe(section),
        "id2label": {str(index): name for index, name in names.items()},
        "label2id": {name: index for index, name in names.items()},
    }
    read = translate_config(config, "the config.json to write")
    again = model_config(
        read.segmentor, read.encoder, len(card.classes), read.options, read.auxiliary, [[{"name": "cross_entropy"}]], ""
    )
    others = differences(complete_section(again), section)
    if others:
        raise UnsupportedError(
            f"transformers' {record.architecture} does not compute the same as this model: it differs in "
            f"{', '.join(others)}"
        )
    return config, record, read.renaming


def class_names(config: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Return the names of the classes by their index.

    Raises
    ------
    CheckpointError
        When the indices of `id2label` are not 0, 1, 2, …
    """
    labels = config.get("id2label")
    if not isinstance(labels, Mapping) or not labels:
        raise CheckpointError(f"{where} names no classes (id2label)")
    named = {int(index): str(name) for index, name in labels.items()}
    if sorted(named) != list(range(len(named))):
        raise CheckpointError(f"{where}: the indices of id2label are not 0 to {len(named) - 1}")
    return tuple(named[index] for index in range(len(named)))


def dataset_of(classes: tuple[str, ...]) -> str:
    """Return the dataset that has these classes in this order, "folder" where none has.

    Of a name, what stands before the first comma counts: the rest are further names of the same class.
    """

    def plain(names: tuple[str, ...]) -> list[str]:
        first = [name.partition(",")[0].strip().lower() for name in names]
        return [_OTHER_WORDS.get(name, name) for name in first]

    return next((name for name in list_label_sets() if plain(label_set(name).classes) == plain(classes)), "folder")


def _own_card(checkpoint: Checkpoint) -> ModelCard | None:
    """Return the card that `Transformers.write` put into the header of the weights, or None."""
    text = checkpoint.metadata.get(CARD_KEY)
    if not isinstance(text, str):
        return None
    where = str(checkpoint.origin)
    return written_card({CARD_KEY: parse_json(text, f"{where}: the card in it", CheckpointError)}, where)


def _processor(checkpoint: Checkpoint) -> tuple[Mapping[str, Any], str]:
    """Return the description of the image processor, and where it is."""
    path = checkpoint.origin.parent / _PROCESSOR
    values = checkpoint.beside(_PROCESSOR)
    if values is None:
        raise CheckpointError(
            f"there is no {path}, which says how images are resized and normalised: save the image processor of the "
            "model there too, with processor.save_pretrained(…)"
        )
    return values, str(path)
