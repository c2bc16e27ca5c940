"""Licences of published weights: of the projects, of single models, and of the encoders that they started from."""

from __future__ import annotations

import re

PROJECT_LICENSES = {
    "mmseg": "Apache-2.0",
    "ssseg": "Apache-2.0",
    "efficientvit": "Apache-2.0",
    "regseg": "MIT",
    "sctnet": "MIT",
    "eomt": "MIT",
}
# With which weights may be used for any purpose.
PERMISSIVE = ("Apache-2.0", "BSD-3-Clause", "MIT")
NVIDIA = "NVIDIA Source Code License (non-commercial)"
# Encoders whose only ImageNet weights, with which models on them start, are not for commercial use.
_ENCODERS = {
    r"mit_b\d": NVIDIA,  # https://github.com/NVlabs/SegFormer/blob/master/LICENSE
    r"vit_\w+_dinov3\w*": "DINOv3 License",  # https://ai.meta.com/resources/models-and-libraries/dinov3-license/
    r"mae_vit_\w+": "CC-BY-NC-4.0",  # https://github.com/facebookresearch/mae/blob/main/LICENSE
}


def terms_of(license: str, backbone: str) -> str:
    """Return the licence of a model's weights and, where it is another one, of those that its encoder started from."""
    name = backbone.partition(".")[0]
    encoder = next((terms for pattern, terms in _ENCODERS.items() if re.fullmatch(pattern, name)), None)
    return license if encoder in (None, license) else f"{license}; encoder: {encoder}"


def is_commercial(terms: str) -> bool:
    """Return whether weights under these terms may be used for any purpose, as far as the terms are known."""
    return terms in PERMISSIVE


def is_non_commercial(terms: str) -> bool:
    """Return whether these terms rule commercial use out."""
    return "-NC-" in terms or "non-commercial" in terms
