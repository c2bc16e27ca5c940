"""smp's encoders: its own ResNets and MiT, and those that it takes from timm ("tu-…")."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import timm
from timm.models.vision_transformer import VisionTransformer

from vitrail.backbones.levels import levels_of
from vitrail.backbones.timm_bridge import FAMILIES, find_builder
from vitrail.backbones.timm_families import family_of, norm_eps
from vitrail.backbones.timm_model import feature_levels
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import Join, LeftOut, PartsLeftOut
from vitrail.checkpoints.sources.renaming import Names, Renaming, State
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.errors import ModelError
from vitrail.layers.skip_init import shapes_only
from vitrail.registry import keyword_arguments

PATCH = 16  # side of a patch of plain transformers
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DEEPEST = 5  # stages of an encoder, the first at stride 2
_OURS = "backbone.encoder"
_RESNETS = (
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *("resnext50_32x4d", "resnext101_32x4d", "resnext101_32x8d", "resnext101_32x16d", "resnext101_32x32d"),
)
_MITS = tuple(f"mit_b{size}" for size in range(6))
# Old names of encoders that are timm's, and how timm calls them.
_OLD_NAMES = {
    "timm-regnet": "tu-regnet",
    "timm-res2": "tu-res2",
    "timm-resnest": "tu-resnest",
    "timm-mobilenetv3": "tu-tf_mobilenetv3",
    "timm-gernet": "tu-gernet",
}
# Families that vitrail computes in a way of its own, but as timm does with the options that are given here.
_AS_IN_TIMM = ("resnet", "swin_transformer")
_PARTS = ("stem", "stages", "layers", "blocks", "features")
_MIT_BLOCK: Names = {
    "attn.q": "attn.q",
    "attn.kv": "attn.kv",
    "attn.sr": "attn.shrink",
    "mlp.dwconv.dwconv": "mlp.conv",
}


@dataclass(frozen=True)
class SmpEncoder:
    """An encoder of smp in vitrail's terms.

    Attributes
    ----------
    encoder : Encoder
        With every map that it has from stride 2 on, finest first.
    channels, strides : tuple of int
        Of these maps; strides before any dilation.
    renaming : Renaming
        Of its tensors.
    mean, std : tuple of float
        Normalisation of its images, 0…1, as its ImageNet weights want it.
    """

    encoder: Encoder
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    renaming: Renaming
    mean: tuple[float, ...] = _MEAN
    std: tuple[float, ...] = _STD


@dataclass(frozen=True)
class NotRead:
    """What a plain transformer has behind the last block that is read: blocks, a norm and a classifier."""

    last: int

    def to_ours(self, state: State) -> State:
        """See `Layout`."""
        return {name: value for name, value in state.items() if not self._is_behind(name)}

    def to_theirs(self, state: State) -> State:
        """See `Layout`."""
        return state

    def _is_behind(self, name: str) -> bool:
        if name.startswith(("encoder.model.norm.", "encoder.model.fc_norm.", "encoder.model.head.")):
            return True
        found = re.match(r"encoder\.model\.blocks\.(\d+)\.", name)
        return found is not None and int(found[1]) > self.last


def encoder_of(settings: Settings, *, default_depth: int, default_stride: int = 32) -> SmpEncoder:
    """Return the encoder that a configuration names.

    Parameters
    ----------
    settings : Settings
        The configuration; what is about the encoder is taken.
    default_depth, default_stride : int
        How many stages it has, and its output stride, where the configuration does not say.

    Raises
    ------
    UnsupportedError
        When vitrail has no encoder that computes the same.
    """
    name = str(settings.take("encoder_name", "resnet34"))
    depth = settings.take("encoder_depth", default_depth)
    stride = settings.take("encoder_output_stride", default_stride)
    in_channels = settings.take("in_channels", 3)
    settings.pass_over("encoder_weights")
    if not isinstance(depth, int) or not 1 <= depth <= DEEPEST:
        raise UnsupportedError(f"{settings.where}.encoder_depth is {depth!r}, not 1 to {DEEPEST}")
    name = next((new + name.removeprefix(old) for old, new in _OLD_NAMES.items() if name.startswith(old)), name)
    if name.startswith("tu-"):
        return _of_timm(settings, name.removeprefix("tu-"), depth, stride, in_channels)
    if name in _RESNETS:
        dilation = {"dilate_all": True} if stride < 2**depth else {}
        options = {"out_indices": list(range(depth)), **dilation}
        encoder = Encoder(name, stride if dilation else None, options, in_channels)
        later = tuple(f"encoder.layer{stage}." for stage in range(depth, DEEPEST))  # which it keeps and does not use
        renaming = Renaming({"encoder": _OURS}, before=(PartsLeftOut(later),))
        return SmpEncoder(encoder, *_parted(levels_in_timm(name)[:depth]), renaming)
    if name in _MITS and depth == DEEPEST and stride == 32:
        return SmpEncoder(Encoder(name, None, {}, in_channels), *levels_of(name), _mit())
    raise UnsupportedError(
        f"{settings.where}: vitrail has no encoder that computes the same as smp's {name!r} of depth {depth} at output "
        f"stride {stride}; it has {', '.join((*_RESNETS, *_MITS))}, and those of timm, tu-…"
    )


def levels_in_timm(name: str) -> list[tuple[int, int]]:
    """Return (channels, stride) of every map that an encoder of timm makes."""
    with shapes_only():
        return feature_levels(timm.create_model(name))


def _parted(levels: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the channels of maps and their strides."""
    return tuple(channels for channels, _ in levels), tuple(stride for _, stride in levels)


def _normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of the images of an encoder of timm, 0…1."""
    cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return (_MEAN, _STD) if cfg is None else (tuple(cfg.mean), tuple(cfg.std))


def _mit() -> Renaming:
    names: dict[str, Any] = {}
    for stage in range(4):
        names[f"encoder.patch_embed{stage + 1}"] = f"backbone.stages.{stage}.embed"
        names[f"encoder.block{stage + 1}.*"] = (f"backbone.stages.{stage}.blocks.*", _MIT_BLOCK)
        names[f"encoder.norm{stage + 1}"] = f"backbone.stages.{stage}.norm"
    joins = tuple(
        Join([(f"attn.q.{kind}", 1), (f"attn.kv.{kind}", 2)], f"attn.qkv.{kind}") for kind in ("weight", "bias")
    )
    return Renaming(names, joins)


def _of_timm(settings: Settings, name: str, depth: int, stride: int, in_channels: int) -> SmpEncoder:
    where = f"{settings.where}.encoder_name"
    try:
        builder, family = find_builder(name), family_of(name)
    except ModelError as error:
        raise UnsupportedError(f"{where}: {error}") from error
    if family == "tresnet" or (family in FAMILIES and family not in _AS_IN_TIMM):
        raise UnsupportedError(f"{where}: vitrail computes timm's {name!r} in another way than smp does")
    levels = levels_in_timm(name)
    indices = _indices(levels, depth, f"{where} ({name})")
    options: dict[str, Any] = {"out_indices": indices}
    takes = keyword_arguments(builder)
    if norm_eps(name, None) is not None or family == "swin_transformer":  # those that vitrail normalises by default
        options["norm_outputs"] = False
    dilated = stride < levels[indices[-1]][1]
    if dilated:
        options["timm_dilation"] = True
    cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if family == "swin_transformer":
        settings.must_be("always_partition", False)
        settings.pass_over("strict_img_size")
        options["img_size"] = cfg.input_size[-1] if cfg is not None else 224
    for key in ("drop_path_rate", "img_size"):
        if key in takes and settings.peek(key) is not None:
            options[key] = settings.take(key)
    encoder = Encoder(name, stride if dilated else None, options, in_channels)
    renaming = Renaming(_timm_names(), before=(LeftOut(("attn_mask",)),))  # that of one size; here it is computed
    return SmpEncoder(encoder, *_parted([levels[index] for index in indices]), renaming, *_normalisation(name))


def plain_encoder_of(settings: Settings, maps: int, *, class_token: bool) -> SmpEncoder:
    """Return the plain transformer of timm that a configuration names, with the class token at every pixel or without.

    Parameters
    ----------
    settings : Settings
        The configuration; what is about the encoder is taken.
    maps : int
        How many maps are read.
    class_token : bool
        Whether each pixel has the class token behind its own channels.

    Raises
    ------
    UnsupportedError
        When vitrail has no encoder that computes the same.
    """
    name = str(settings.take("encoder_name", "tu-vit_base_patch16_224.augreg_in21k")).removeprefix("tu-")
    where = f"{settings.where}.encoder_name"
    settings.must_be("encoder_depth", maps)
    settings.pass_over("encoder_weights", "dynamic_img_size", "dynamic_img_pad", "strict_img_size")
    try:
        with shapes_only():
            model = timm.create_model(name)
    except RuntimeError as error:
        raise UnsupportedError(f"{where}: timm has no {name!r}") from error
    if type(model) is not VisionTransformer or feature_levels(model)[0][1] != PATCH:
        raise UnsupportedError(f"{where}: {name!r} is no plain transformer with patches of {PATCH} pixels")
    if class_token and (model.cls_token is None or model.num_prefix_tokens != 1):
        raise UnsupportedError(f"{where}: {name!r} has no class token, or more tokens than that")
    depth = len(model.blocks)
    given = settings.take("encoder_output_indices", None)
    indices = [(i + 1) * depth // maps - 1 for i in range(maps)] if given is None else [i % depth for i in given]
    options: dict[str, Any] = {"out_indices": indices, "interpolation": "bicubic_antialias"}
    options |= {"append_class_token": True} if class_token else {}
    options |= {key: settings.take(key) for key in ("img_size", "drop_path_rate") if settings.peek(key) is not None}
    encoder = Encoder(name, None, options, settings.take("in_channels", 3))
    names: Names = {"encoder.model": _OURS}
    return SmpEncoder(
        encoder,
        (model.embed_dim,) * maps,
        (PATCH,) * maps,
        Renaming(names, before=(NotRead(max(indices)),)),
        *_normalisation(name),
    )


def _indices(levels: Sequence[tuple[int, int]], depth: int, where: str) -> list[int]:
    """Return which levels smp reads: those whose strides are powers of two, from 2 on."""
    strides = [stride for _, stride in levels]
    first = strides[0]
    if strides != [first * 2**i for i in range(len(strides))] or first not in (1, 2, 4):
        raise UnsupportedError(f"{where} has maps at the strides {strides}, which smp does not read")
    return [index for index, stride in enumerate(strides) if 2 <= stride <= 2**depth]


def _timm_names() -> Names:
    """Return the names in a timm model of feature maps, in which a module of a list stands beside its list."""
    return {"encoder.model": (_OURS, {f"{part}_{i}": f"{part}.{i}" for part in _PARTS for i in range(64)})}
