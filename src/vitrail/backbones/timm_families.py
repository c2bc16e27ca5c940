"""Facts about families of timm's encoders: which take any image size, need padding, or have normalised maps.

A family is a module of timm, such as "resnet".
"""

from __future__ import annotations

import timm
from timm.models import model_entrypoint

# Families (modules of timm) whose windows or patches must divide the image: images are padded to a multiple.
_PADDED = frozenset(
    {
        "csatv2",
        "deepseek_vit",
        "dla",
        "gemma4_vit",
        "hieradet_sam2",
        "qwen3_vit",
        "swin_transformer_v2",
        "tresnet",
        "vision_transformer_hybrid",
        "vision_transformer_sam",
        "vitamin",
    }
)

# Families that work at one image size only, or whose maps are smaller than their strides: not for segmentation.
_ONE_SIZE = frozenset(
    {
        "byoanet",
        "cait",
        "coat",
        "convit",
        "crossvit",
        "efficientformer",
        "efficientformer_v2",
        "gcvit",
        "hiera",
        "inception_resnet_v2",
        "inception_v3",
        "inception_v4",
        "levit",
        "maxxvit",
        "mlp_mixer",
        "naflexvit",
        "nest",
        "pit",
        "tnt",
        "vision_transformer_relpos",
        "visformer",
        "volo",
    }
)

# Families whose published segmentation models apply a layer norm to every map, with its epsilon.
_NORMED: dict[str, float] = {"convnext": 1e-6}

# Single encoders of other families that need image sides to be multiples of an unusual number.
_ONE_SIZE_NAMES = frozenset({"bat_resnext26ts"})


def timm_names() -> list[str]:
    """Return the names of timm's encoders that take any size. Builds nothing."""
    return [name for name in timm.list_models() if takes_any_size(name)]


def family_of(name: str) -> str:
    """Return the family of an encoder: the module of timm that defines it."""
    return model_entrypoint(name.partition(".")[0]).__module__.rpartition(".")[2]


def takes_any_size(name: str) -> bool:
    """Return whether an encoder of timm works at any image size."""
    return family_of(name) not in _ONE_SIZE and name.partition(".")[0] not in _ONE_SIZE_NAMES


def is_padded(name: str) -> bool:
    """Return whether the sides of images have to be multiples of the encoder's largest stride."""
    return family_of(name) in _PADDED


def norm_eps(name: str, norm_outputs: bool | None) -> float | None:
    """Return the epsilon of the layer norm applied to each map, or None; `norm_outputs` None takes the published."""
    published = _NORMED.get(family_of(name))
    wanted = published is not None if norm_outputs is None else norm_outputs
    return (published or 1e-5) if wanted else None
