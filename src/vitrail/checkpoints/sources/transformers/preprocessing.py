"""transformers' preprocessor_config.json: the resize and normalisation of images, as the data section of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.segmentors import ModelCard

_BILINEAR = 2  # of Pillow's filters
_MASK_PROCESSORS = ("MaskFormer", "Mask2Former")
_SPLITS = "EomtImageProcessor"  # splits images into windows, each as high or wide as the image
_MOBILEVIT = "MobileViTImageProcessor"
# They cut images to their centre, as for classification; here whole images are predicted.
_CROPPING = (_MOBILEVIT, "MobileNetV2ImageProcessor")
_UNBOUNDED = 8192  # the largest side of images that a model file may ask for
_IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}


def data_of(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return what an image processor does, as the data section of a recipe without its dataset.

    Raises
    ------
    UnsupportedError
        For steps that vitrail has no counterpart of; the message names them.
    """
    kind = _kind(values)
    if values.get("do_center_crop") and kind not in _CROPPING:
        raise UnsupportedError(f"{where} crops images to their centre: vitrail predicts whole images")
    if values.get("do_flip_channel_order") and kind != _MOBILEVIT:
        raise UnsupportedError(f"{where} asks for the channels in another order than red, green and blue")
    if values.get("do_pad") and _kind(values) == _SPLITS:
        raise UnsupportedError(f"{where} pads images to a square, as for panoptic segmentation")
    if values.get("keep_aspect_ratio"):
        raise UnsupportedError(f"{where} keeps the aspect ratio (keep_aspect_ratio), as for depth: DPT needs squares")
    data = _normalisation(values)
    if values.get("do_resize", True):
        data["eval_resize"] = _resize(values, where)
    return data


def is_blue_first(values: Mapping[str, Any]) -> bool:
    """Return whether an image processor gives its model the channels in the order blue, green and red."""
    return bool(values.get("do_flip_channel_order", _kind(values) == _MOBILEVIT))


def evaluation_of(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return how images are predicted, as the evaluation section of a recipe.

    Raises
    ------
    UnsupportedError
        For windows that are not squares.
    """
    if not values.get("do_split_image"):
        return {"mode": "whole", "average": "logits"}
    size = values.get("size", {})
    side = size.get("shortest_edge") if isinstance(size, Mapping) else size
    if not isinstance(side, int) or not values.get("do_resize", True):
        raise UnsupportedError(f"{where} splits images that it does not resize to one short side")
    # windows next to each other, the last one shifted back: for images up to twice as long as wide the same
    return {"mode": "slide", "window": [side, side], "stride": [side, side], "average": "logits"}


def _kind(values: Mapping[str, Any]) -> str:
    """Return the name of the image processor, without the mark of a faster implementation."""
    kind = str(values.get("image_processor_type") or values.get("feature_extractor_type") or "")
    return kind.removesuffix("Fast")


def _normalisation(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return mean and deviation of images in 0…255; theirs are of images that were multiplied by a factor."""
    factor = float(values.get("rescale_factor", 1 / 255)) if values.get("do_rescale", True) else 1.0
    mean, std = (values.get(key) or _IMAGENET[key] for key in ("image_mean", "image_std"))
    if not values.get("do_normalize", _kind(values) != _MOBILEVIT):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return {"mean": [round(x / factor, 6) for x in mean], "std": [round(x / factor, 6) for x in std]}


def _resize(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    if values.get("resample", _BILINEAR) != _BILINEAR:
        raise UnsupportedError(f"{where} resizes by the filter {values['resample']} of Pillow, not bilinearly")
    kind = _kind(values)
    divisor = values.get(
        "size_divisor", values.get("size_divisibility", 32 if kind.startswith(_MASK_PROCESSORS) else 1)
    )
    if values.get("ensure_multiple_of", 1) != 1:
        sides = _sides(values.get("size", 512))
        if any(side % values["ensure_multiple_of"] for side in sides):
            raise UnsupportedError(f"{where} rounds sizes to multiples of {values['ensure_multiple_of']} either way")
    resize: dict[str, Any] = {"antialias": True, "multiple_of": max(1, int(divisor or 1))}
    size, longest = values.get("size", 512), values.get("max_size")
    if isinstance(size, int) and longest:
        size = {"shortest_edge": size, "longest_edge": longest}
    if isinstance(size, int):
        size = {"height": size, "width": size}
    if {"height", "width"} <= size.keys():
        return {"size": [size["height"], size["width"]], "keep_ratio": False, **resize}
    if size.get("shortest_edge") and kind in (_SPLITS, *_CROPPING) and not size.get("longest_edge"):
        size = {"shortest_edge": size["shortest_edge"], "longest_edge": _UNBOUNDED}
    if {"shortest_edge", "longest_edge"} <= size.keys():
        return {"size": [size["shortest_edge"], size["longest_edge"]], "keep_ratio": True, **resize}
    raise UnsupportedError(f"{where} gives the size {dict(size)}, neither height and width nor both edges")


def _sides(size: Any) -> list[int]:
    """Return every length that a size gives."""
    return [int(side) for side in (size.values() if isinstance(size, Mapping) else [size]) if side]


def processor_of(card: ModelCard, kind: str) -> tuple[dict[str, Any], list[str]]:
    """Return the image processor of a model, and in what it differs from the model's recipe.

    Parameters
    ----------
    card : ModelCard
        The model's card: its normalisation, and the resize in its recipe.
    kind : str
        The name of the image processor's class.
    """
    data = card.recipe.get("data", {})
    resize = data.get("eval_resize")
    described: dict[str, Any] = {
        "image_processor_type": kind,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [value / 255 for value in card.mean],
        "image_std": [value / 255 for value in card.std],
        "do_resize": resize is not None,
        # in the benchmark's files 0 is no class, and class 0 is 1
        "do_reduce_labels": data.get("dataset") == "ade20k",
        "ignore_index": 255,
    }
    differences = []
    evaluation = card.recipe.get("evaluation", {})
    splits = kind == _SPLITS and _is_split(resize, evaluation)
    if kind == _SPLITS:
        described["do_split_image"] = splits
    if evaluation.get("mode") == "slide" and not splits:
        differences.append("it predicts whole images, where the recipe says windows")
    multiple = 1 if resize is None else resize.get("multiple_of", 1)
    if kind.startswith(_MASK_PROCESSORS):
        described["size_divisor"] = multiple
    elif multiple != 1:
        differences.append(f"it does not round sizes up to multiples of {multiple}")
    if resize is not None:
        size = {"shortest_edge": min(resize["size"]), "longest_edge": None} if splits else _size(resize)
        described |= {"resample": _BILINEAR, "size": size}
        if not resize.get("antialias", False):
            differences.append("it smooths images that it makes smaller")
    return described, differences


def _is_split(resize: Mapping[str, Any] | None, evaluation: Mapping[str, Any]) -> bool:
    """Return whether images are predicted by square windows that are as wide as their short side."""
    if evaluation.get("mode") != "slide" or resize is None or not resize.get("keep_ratio", True):
        return False
    side = min(resize["size"])
    return list(evaluation["window"]) == list(evaluation["stride"]) == [side, side]


def _size(resize: Mapping[str, Any]) -> dict[str, int]:
    first, second = resize["size"]
    if resize.get("keep_ratio", True):
        return {"shortest_edge": min(first, second), "longest_edge": max(first, second)}
    return {"height": first, "width": second}
