"""What the records of MMSegmentation's methods share, and the translation of a config's `model` section."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.encoder import Encoder, model_config
from vitrail.checkpoints.sources.layouts import UnnumberedWhenAlone
from vitrail.checkpoints.sources.losses import Terms
from vitrail.checkpoints.sources.mmseg.encoders import check_norm, translate_backbone
from vitrail.checkpoints.sources.mmseg.losses import first_weight, translate_losses
from vitrail.checkpoints.sources.records import MethodRecord, find_method
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.recipes import ModelConfig
from vitrail.registry import Registry

_PLAIN_LOSS = {"type": "CrossEntropyLoss"}
_DEFAULT_THRESHOLD = 0.3  # of MMSegmentation, for heads of one output


@dataclass(frozen=True)
class Translation:
    """A model of MMSegmentation in vitrail's terms.

    Attributes
    ----------
    encoder : Encoder
        What it stands on.
    num_classes : int
        K, the number of classes; 1 for two that are told apart by one output.
    options : dict
        Arguments of the method's head.
    losses : list of dict
        Terms of the main head's criterion.
    auxiliary : dict
        The auxiliary heads, as `vitrail.recipes.AuxiliaryConfig` has them.
    own_auxiliary : bool
        Whether the auxiliary heads there are parts of the method's head here, and their losses its options.
    """

    encoder: Encoder
    num_classes: int
    options: dict[str, Any]
    losses: Terms
    auxiliary: dict[str, Any] = field(default_factory=dict)
    own_auxiliary: bool = False


@dataclass(frozen=True)
class ModelSection:
    """The `model` section of a config.

    Attributes
    ----------
    values : mapping
        The whole section.
    where : str
        What it is called, for messages.
    """

    values: Mapping[str, Any]
    where: str

    @property
    def decode_heads(self) -> Sequence[Mapping[str, Any]]:
        """The sections of its decode heads, one or several."""
        return _several(self.values["decode_head"])

    @property
    def auxiliary_heads(self) -> Sequence[Mapping[str, Any]]:
        """The sections of its auxiliary heads."""
        return _several(self.values.get("auxiliary_head") or ())

    @cached_property
    def encoder(self) -> Encoder:
        """What its backbone and neck are here."""
        encoder = translate_backbone(self.values["backbone"], self.values.get("neck"), f"{self.where}.backbone")
        neck = self.values.get("neck")
        if neck is not None and not encoder.takes_neck:
            raise UnsupportedError(f"{self.where} has a {neck.get('type')} between encoder and head")
        return encoder

    @cached_property
    def encoder_below_neck(self) -> Encoder:
        """What its backbone is here, for methods that count the neck as a part of theirs."""
        return translate_backbone(self.values["backbone"], None, f"{self.where}.backbone")

    def neck(self, kind: str) -> Settings:
        """Return its neck, which has to be of this class, for reading."""
        neck = Settings(self.values.get("neck") or {}, f"{self.where}.neck")
        if neck.peek("type") != kind:
            raise UnsupportedError(
                f"{self.where} has {neck.peek('type') or 'no neck'} where vitrail's method has {kind}"
            )
        neck.pass_over("type")
        return neck

    def decode_head(self, index: int | None = None, *, norm_eps: float = 1e-5, group_norm: bool = False) -> Head:
        """Return a decode head for reading; `index` is its place where there are several."""
        name = "decode_head" if index is None else f"decode_head[{index}]"
        values = self.decode_heads[index or 0]
        return Head(values, f"{self.where}.{name}", norm_eps=norm_eps, group_norm=group_norm)


class Head:
    """A decode or auxiliary head: what all of them say is read here, the rest by the method.

    Parameters
    ----------
    values : mapping
        Its section.
    where : str
        What it is called, for messages.
    norm_eps : float
        The epsilon that our norms have.
    group_norm : bool
        Whether they are group norms rather than batch norms.
    """

    def __init__(
        self, values: Mapping[str, Any], where: str, *, norm_eps: float = 1e-5, group_norm: bool = False
    ) -> None:
        settings = self.settings = Settings(values, where)
        self.where = where
        self.losses = settings.take("loss_decode", _PLAIN_LOSS)
        self.sampler = settings.take("sampler", None)
        self.num_classes: int = _outputs(settings)
        self.channels: int = settings.take("channels")
        self.align_corners: bool = settings.take("align_corners", False)
        self.dropout = max(0.0, float(settings.take("dropout_ratio", 0.1)))
        self.joined = settings.take("input_transform", None) == "resize_concat"
        self.in_index: int | Sequence[int] = settings.take("in_index", -1)
        settings.must_be("conv_cfg", None)
        settings.must_be("act_cfg", {"type": "ReLU"}, {"type": "ReLU", "inplace": True})
        if self.num_classes == 1:
            settings.pass_over("threshold")  # see `one_output_threshold`
        settings.must_be("threshold", None)
        settings.must_be("ignore_index", 255)
        settings.pass_over("type", "in_channels", "init_cfg")
        if settings.peek("num_convs") != 0:  # a bare classifier has no norms
            check_norm(settings, *(("GN",) if group_norm else ("BN", "SyncBN")), eps=norm_eps)
        settings.pass_over("norm_cfg")

    def map_index(self, encoder: Encoder) -> int | None:
        """Return which of our maps it reads, counted from the last one; None where it reads several."""
        if not isinstance(self.in_index, int):
            return None
        ours = encoder.order[self.in_index]
        return ours - len(encoder.order) if ours >= 0 else ours

    def read_last_map(self, encoder: Encoder) -> None:
        """Refuse a head that reads another map than the last, unless it joins all of them."""
        if not self.joined and self.map_index(encoder) != -1:
            raise UnsupportedError(
                f"{self.where} reads map {self.map_index(encoder)}, where vitrail's method reads the last"
            )

    def convolutions(self) -> dict[str, Any]:
        """Return what FCN heads say about their convolutions, as options of ours."""
        return {
            "num_convs": self.settings.take("num_convs", 2),
            "kernel_size": self.settings.take("kernel_size", 3),
            "dilation": self.settings.take("dilation", 1),
            "concat_input": self.settings.take("concat_input", True),
        }

    def must_have_convolutions(self, num_convs: int, *, dilation: int = 1) -> None:
        """Refuse an FCN head that does not have so many 3 × 3 convolutions before its classifier."""
        expected = {"num_convs": num_convs, "kernel_size": 3, "dilation": dilation, "concat_input": False}
        if self.convolutions() != expected:
            raise UnsupportedError(f"{self.where} has other convolutions than {num_convs} of 3 × 3")

    def take(self, keys: Mapping[str, str]) -> dict[str, Any]:
        """Return its settings by the names of our options; `keys` gives the names there."""
        return {ours: as_lists(self.settings.take(theirs)) for ours, theirs in keys.items()}

    def finish(self) -> None:
        """Refuse settings that nobody asked for."""
        self.settings.finish()


Translate = Callable[[ModelSection], Translation]
MethodRecords = Registry[MethodRecord[Translate]]
METHODS: MethodRecords = Registry(
    "MMSegmentation method", UnsupportedError, "vitrail.checkpoints.sources.mmseg.methods"
)


def translate_model(values: Mapping[str, Any], where: str) -> ModelConfig:
    """Return what a config's `model` section describes.

    Raises
    ------
    UnsupportedError
        When vitrail does not compute the same; the message says what it lacks.
    """
    kind = values.get("type")
    if kind not in ("EncoderDecoder", "CascadeEncoderDecoder", "MultimodalEncoderDecoder"):
        raise UnsupportedError(f"{where}: vitrail has no method like MMSegmentation's {kind}")
    parts = ("image_encoder", "text_encoder") if kind == "MultimodalEncoderDecoder" else ("backbone",)
    for key in (*parts, "decode_head"):
        if key not in values:
            raise UnsupportedError(f"{where}: the model has no {key}")
    section = ModelSection(values, where)
    heads = "+".join(str(head.get("type")) for head in section.decode_heads)
    neck, backbone = (values.get("neck") or {}).get("type"), str(encoder_section(values).get("type"))
    found = find_method(METHODS, f"{neck}+{heads}", backbone) or find_method(METHODS, heads, backbone)
    if found is None:
        raise UnsupportedError(f"{where}: vitrail has no method with MMSegmentation's {heads}")
    name, record = found
    model = record.translate(section)
    losses = [model.losses, *([] if model.own_auxiliary else _auxiliary_losses(section))]
    return model_config(name, model.encoder, model.num_classes, model.options, model.auxiliary, losses, where)


def encoder_section(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the section of the encoder of images in a `model` section."""
    section: Mapping[str, Any] = model["backbone" if "backbone" in model else "image_encoder"]
    return section


def one_output_threshold(model: Mapping[str, Any]) -> float | None:
    """Return the probability above which a pixel is of the second class, of a `model` section whose head has one
    output; None for others."""
    head = _several(model["decode_head"])[-1]
    if head.get("out_channels", head.get("num_classes")) != 1:
        return None
    threshold = head.get("threshold")
    return _DEFAULT_THRESHOLD if threshold is None else float(threshold)


def _outputs(settings: Settings) -> int:
    """Return the number of a head's classes; 1 where it tells two classes apart by one output."""
    num_classes: int = settings.take("num_classes")
    outputs = settings.take("out_channels", None)
    if outputs == 1 and num_classes == 2:
        return 1
    if outputs not in (None, num_classes):
        raise UnsupportedError(f"{settings.where}.out_channels is {outputs!r} for {num_classes} classes")
    return num_classes


def translation(
    head: Head, encoder: Encoder, options: Mapping[str, Any], auxiliary: dict[str, Any] | None = None
) -> Translation:
    """Return a model whose predicting head has been read; adds what all heads have in common to its options."""
    losses = translate_losses(head.losses, head.sampler, f"{head.where}.loss_decode")
    common: dict[str, Any] = {"dropout": head.dropout}
    if head.align_corners:
        common["align_corners"] = True
    return Translation(encoder, head.num_classes, {**options, **common}, losses, auxiliary or {})


def on_last_map(
    keys: Mapping[str, str], *, always: Mapping[str, Any] | None = None, only: Mapping[str, Any] | None = None
) -> Translate:
    """Return the translation of a method that reads the last map and has one auxiliary head at most.

    Parameters
    ----------
    keys : mapping from str to str
        Names of the head's own settings there, by those of our options.
    always : mapping, optional
        Options of ours for what all its heads there have.
    only : mapping, optional
        Settings there that vitrail computes with a single value.
    """

    def translate(model: ModelSection) -> Translation:
        head = model.decode_head()
        head.read_last_map(model.encoder)
        options = {"channels": head.channels, **head.take(keys), **(always or {})}
        for key, value in (only or {}).items():
            head.settings.must_be(key, value)
        head.settings.pass_over("c1_in_channels")
        head.finish()
        return translation(head, model.encoder, options, one_auxiliary(model))

    return translate


def around_block(read: Callable[[Settings], dict[str, Any]]) -> Translate:
    """Return the translation of a method that has a block between the two convolutions of an FCN head.

    `read` takes what the block is from the settings of the head, and returns it as options of ours.
    """

    def translate(model: ModelSection) -> Translation:
        head = model.decode_head()
        head.read_last_map(model.encoder)
        for key, value in (("kernel_size", 3), ("dilation", 1), ("concat_input", True)):
            head.settings.must_be(key, value)
        options = {"channels": head.channels, **read(head.settings)}
        head.finish()
        return translation(head, model.encoder, options, one_auxiliary(model))

    return translate


def fcn_on_own_encoder(*, auxiliary_convs: int) -> Translate:
    """Return the translation of an FCN head on the last map of an encoder that only this method has.

    There is an auxiliary head of `auxiliary_convs` convolutions on every other map.
    """

    def translate(model: ModelSection) -> Translation:
        head = model.decode_head()
        head.read_last_map(model.encoder)
        head.must_have_convolutions(1)
        head.finish()
        auxiliary = several_auxiliary(model, range(-len(model.encoder.order), -1), num_convs=auxiliary_convs)
        return translation(head, model.encoder, {"channels": head.channels}, auxiliary)

    return translate


def one_auxiliary(model: ModelSection, *, dilation: int = 1) -> dict[str, Any]:
    """Return the description of the one auxiliary head that most methods have, an FCN of one convolution."""
    if not model.auxiliary_heads:
        return {"weight": 0.0}
    where = f"{model.where}.auxiliary_head"
    if len(model.auxiliary_heads) > 1:
        raise UnsupportedError(
            f"{model.where} has {len(model.auxiliary_heads)} auxiliary heads, where vitrail's method has one"
        )
    values = model.auxiliary_heads[0]
    if values.get("type") != "FCNHead":
        raise UnsupportedError(f"{where} is a {values.get('type')}, not an FCNHead")
    head = Head(values, where)
    head.must_have_convolutions(1, dilation=dilation)
    head.finish()
    described: dict[str, Any] = {"weight": first_weight(head.losses), "channels": [head.channels]}
    index = head.map_index(model.encoder)
    return described if index == -2 else {**described, "maps": [index]}


def several_auxiliary(model: ModelSection, indices: Sequence[int], num_convs: int) -> dict[str, Any]:
    """Return the description of auxiliary heads, FCNs, one on each of the maps at `indices`, in that order."""
    heads = [Head(values, f"{model.where}.auxiliary_head") for values in model.auxiliary_heads]
    found = [head.map_index(model.encoder) for head in heads]
    if found != list(indices):
        raise UnsupportedError(f"{model.where} has auxiliary heads on maps {found}")
    for head in heads:
        head.must_have_convolutions(num_convs)
        head.finish()
    weights = {first_weight(head.losses) for head in heads}
    if len(weights) > 1:
        raise UnsupportedError(f"{model.where} weighs its auxiliary heads differently: {sorted(weights)}")
    return {"weight": weights.pop(), "channels": [head.channels for head in heads]}


def pyramid_channels(model: ModelSection) -> int:
    """Return the channels of the feature pyramid over four maps that is the neck of a model."""
    neck = model.neck("FPN")
    width: int = neck.take("out_channels")
    neck.must_be("num_outs", 4)
    neck.pass_over("in_channels")
    neck.finish()
    return width


def one_width(widths: Sequence[int], where: str) -> int:
    """Return the only value in a list of widths.

    Raises
    ------
    UnsupportedError
        When there are several.
    """
    if len(set(widths)) > 1:
        raise UnsupportedError(f"{where} has heads of different widths: {widths}")
    return widths[0]


def joined_maps(head: Head, encoder: Encoder) -> Encoder:
    """Return the encoder with its maps joined, for heads that do so themselves."""
    if not head.joined:
        return encoder
    if not encoder.name.startswith("hrnet"):
        raise UnsupportedError(f"{head.where}: vitrail joins the maps of HRNets only")
    return replace(encoder, options={**encoder.options, "concat": True})


def head_renaming(names: Names, **settings: Any) -> Renaming:
    """Return the renaming of a decode head with these names, of its auxiliary heads and of a neck that vitrail counts
    as the encoder's; `settings` are further arguments of `Renaming`."""
    return Renaming(
        {"decode_head": ("head", {"conv_seg": "classifier", **names}), **AUXILIARY, **NECK},
        before=(UnnumberedWhenAlone("auxiliary_head"),),
        **settings,
    )


AUXILIARY: Names = {"auxiliary_head.*": ("auxiliary.*", {"conv_seg": "classifier", "conv_cat": "fuse"})}
# Of plain transformers, whose maps it turns into a pyramid.
NECK: Names = {
    "neck.upsample_4x": "backbone.neck.up4",
    "neck.upsample_2x.0": "backbone.neck.up2",
    "neck.lateral_convs.*.conv": "backbone.neck.lateral.*",
    "neck.convs.*.conv": "backbone.neck.smooth.*",
}


def _auxiliary_losses(model: ModelSection) -> list[list[dict[str, Any]]]:
    """Return the terms of each auxiliary head's criterion."""
    where = f"{model.where}.auxiliary_head"
    heads = [Settings(head, where) for head in model.auxiliary_heads]
    return [
        translate_losses(head.take("loss_decode", _PLAIN_LOSS), head.take("sampler", None), where) for head in heads
    ]


def _several(values: Any) -> Sequence[Mapping[str, Any]]:
    return values if isinstance(values, (list, tuple)) else [values]
