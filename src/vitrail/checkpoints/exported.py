"""Exported files as models: a `Segmentor` whose forward pass is run by whatever runs the file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from vitrail.backbones import Backbone
from vitrail.checkpoints.card_check import check_card
from vitrail.errors import CheckpointError, ModelError, PluginError, PredictionError
from vitrail.files.json_text import parse_json
from vitrail.registry import find_registry
from vitrail.segmentors import Head, ModelCard, Segmentor

Runner = Callable[[Tensor], tuple[Tensor, ...]]
_Side = Annotated[int, Field(ge=1, le=1 << 16)]


class _Description(BaseModel):
    """The types and bounds of what is used of the metadata that `vitrail.export` writes."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    format: Literal[1]
    card: dict[str, Any]
    output: Literal["classes", "scores", "raw"]
    head_output: Literal["logits", "probabilities", "scores"]
    align_corners: bool
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    size: Annotated[list[_Side], Field(min_length=2, max_length=2)] | None


class ExportedSegmentor(Segmentor):
    """A model in an exported file. It predicts and is evaluated like any other, on the CPU, and cannot be trained.

    Parameters
    ----------
    run : callable
        Runs the file: from images, uint8 [B, C, H, W], to what it returns.
    described : mapping
        The metadata of the file, as `vitrail.export.read_export_metadata` returns them.
    card : ModelCard
        The card in the metadata.
    path : Path
        The file, for messages.

    Attributes
    ----------
    path : Path
        The file.
    returns : {"classes", "scores", "raw"}
        What the file returns: class indices; class indices and the probability of each; or the values of all classes.
    threshold : float or None
        The threshold of two classes that class indices were chosen with; None for the argmax.
    size : (int, int) or None
        The only height and width of images that the file takes; None for any size.
    """

    def __init__(self, run: Runner, described: Mapping[str, Any], card: ModelCard, path: Path) -> None:
        head = _FileHead(len(card.classes), described["head_output"], align_corners=bool(described["align_corners"]))
        super().__init__(_Pixels(len(card.mean)), head, card=card)
        self.path = path
        self.returns: str = described["output"]
        self.threshold: float | None = described.get("threshold")
        self.size: tuple[int, int] | None = tuple(described["size"]) if described["size"] else None
        self._run = run

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the values [B, K, H, W] of all classes for images [B, C, H, W] in 0…255, not normalised.

        The file takes uint8: other values, as of scaled images, are rounded.

        Raises
        ------
        ModelError
            With targets: the file has no loss and no gradients.
        PredictionError
            When the file returns class indices only, and as `run` does.
        """
        if targets is not None:
            self._refuse("it cannot be trained")
        if self.returns != "raw":
            raise PredictionError(
                f"{self.path} returns class indices, not the values of all classes: export the model with raw=True "
                "(--raw)"
            )
        (values,) = self.run(images)
        return values

    def run(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return what the file returns for images [B, C, H, W] in 0…255.

        Raises
        ------
        PredictionError
            When the file takes another size of images only, or fails.
        """
        height, width = images.shape[-2:]
        if self.size is not None and self.size != (height, width):
            only = f"{self.size[0]} × {self.size[1]}"
            raise PredictionError(
                f"{self.path} takes images of {only} only, not {height} × {width}: resize them, or export the model "
                "without a size (--dynamic)"
            )
        if images.dtype != torch.uint8:
            images = images.round().clamp(0, 255).to(torch.uint8)
        try:
            outputs = self._run(images.contiguous())
            self._check(outputs, len(images))
        except Exception as error:  # of whatever runs the format
            reason = str(error)[:300]
            raise PredictionError(f"{self.path} fails for images of {height} × {width}: {reason}") from error
        return outputs

    def _check(self, outputs: tuple[Tensor, ...], count: int) -> None:
        """Raise a ValueError unless a file returns what its description says."""
        classes = self.num_classes
        if len(outputs) != (2 if self.returns == "scores" else 1):
            raise ValueError(f"it returns {len(outputs)} values")
        first = outputs[0]
        if self.returns == "raw":
            as_said = first.ndim == 4 and first.shape[1] in ((1, 2) if classes == 2 else (classes,))
        else:
            as_said = all(each.ndim == 3 and each.shape == first.shape for each in outputs)
            if as_said and not (first.numel() and int(first.min()) >= 0 and int(first.max()) < classes):
                raise ValueError(f"it returns indices beyond those of its {classes} classes")
        if not as_said or len(first) != count:
            raise ValueError(f"it returns values of the shape {list(first.shape)}")

    def state_dict(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise a ModelError: the weights are in the file, in a form of its own."""
        self._refuse("its weights cannot be taken out, so it cannot be trained, saved or converted")

    def __deepcopy__(self, memo: object) -> ExportedSegmentor:
        return self  # what runs the file cannot be copied, and nothing changes it

    def _refuse(self, what: str) -> NoReturn:
        raise ModelError(f"{self.path} is an exported model: {what}; use the model file that it was exported from")


class _Pixels(Backbone):
    """Returns the images: an exported file holds the backbone and the head as one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels, self.strides = (channels,), (1,)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images]


class _FileHead(Head):
    """Says what the values of an exported file are."""

    resizes_late = False  # the file resizes them to the images

    def __init__(self, num_classes: int, output: str, *, align_corners: bool) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.output = output  # type: ignore[misc, assignment] # of this file, not of all heads; checked by the caller


def formats_of(path: Path) -> list[str]:
    """Return the names of the export formats with the longest suffix that the file's name ends with."""
    name = path.name.lower()
    suffixes = {format: kind.suffix for format, kind in find_registry("export format").items()}
    fitting = {format: suffix for format, suffix in suffixes.items() if name.endswith(suffix)}
    longest = max(map(len, fitting.values()), default=0)
    return [format for format, suffix in fitting.items() if len(suffix) == longest]


def exported_format(path: Path) -> str | None:
    """Return the name of the export format that a file's name says, None for no format.

    Raises
    ------
    PluginError
        When several formats have its suffix.
    """
    formats = formats_of(path)
    if len(formats) > 1:
        raise PluginError(f"{path}: several export formats have this suffix: {', '.join(formats)}; rename the file")
    return formats[0] if formats else None


def load_exported(path: Path, format: str, *, trust: bool) -> ExportedSegmentor:
    """Return the model in an exported file.

    Parameters
    ----------
    path : Path
        The file.
    format : str
        The name of its format.
    trust : bool
        Load a format whose files may hold code.

    Raises
    ------
    CheckpointError
        When a library is missing, the file is damaged or was not exported by vitrail, and for a format whose files may
        hold code unless `trust` is set.
    """
    kind = find_registry("export format")[format]
    missing = [package for module, package in kind.modules.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise CheckpointError(f"running {path} needs {', '.join(missing)}: pip install {' '.join(missing)}")
    if getattr(kind, "runs_code", True) and not trust:
        raise CheckpointError(
            f"{path}: loading a file of the format {format!r} can run code that is in it. If you trust its origin, "
            "pass trust_imports=True (--trust-imports); an .onnx file holds data only"
        )
    exporter = kind()
    described, card = _description(exporter, path)
    try:
        run = exporter.open(path)
    except Exception as error:  # of whatever reads the format
        raise CheckpointError(f"{path} cannot be loaded: {str(error)[:300]}") from error
    return ExportedSegmentor(run, described, card, path).eval()


def _description(exporter: Any, path: Path) -> tuple[Mapping[str, Any], ModelCard]:
    try:
        described = _Description.model_validate(
            parse_json(exporter.read_metadata(path), "its description", CheckpointError)
        ).model_dump()
        card = ModelCard.from_dict(described["card"])
        check_card(card, len(card.mean), str(path))
    except Exception as error:  # of whatever reads the format, or of unexpected content
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            reason = f"its description: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise CheckpointError(f"{path} was not exported by vitrail, or is damaged ({reason})") from error
    return described, card


def computing_device(model: nn.Module, wanted: torch.device, *, explicit: bool) -> torch.device:
    """Return the device of a model's computations: the wanted one, and the CPU for an exported file.

    Parameters
    ----------
    model : nn.Module
        The model.
    wanted : torch.device
        The device that was chosen for it.
    explicit : bool
        Whether a user named that device.

    Raises
    ------
    ModelError
        When a user named another device than the CPU for an exported file.
    """
    if not isinstance(model, ExportedSegmentor) or wanted.type == "cpu":
        return wanted
    if explicit:
        raise ModelError(f"{model.path} is an exported model, which runs on the CPU here, not on {wanted}: device=cpu")
    return torch.device("cpu")
