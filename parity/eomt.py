"""EoMT's authors' models as references; their code is no package: it lies in a folder that a variable names.

git clone https://github.com/tue-mps/eomt && export VITRAIL_EOMT=$PWD/eomt
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parity.case import Case
from parity.missing import MissingToolboxError
from parity.reference import Losses, Reference
from vitrail.checkpoints.sources.eomt_authors import EoMTAuthors
from vitrail.recipes import ModelConfig
from vitrail.segmentors import Segmentor, create_model

VARIABLE = "VITRAIL_EOMT"
DINOV2, DINOV3 = "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3_qkvb"
CLASSES, QUERIES, BLOCKS, SIZE = 5, 20, 2, 64


def modules() -> tuple[Any, Any]:
    """Return their modules of the method and of its encoders; see `their_modules`."""
    method, encoders = their_modules("models.eomt", "models.vit")
    return method, encoders


def their_modules(*names: str) -> list[Any]:
    """Import modules of their code, which has packages of common names, and take them out of `sys.modules` again.

    Raises
    ------
    MissingToolboxError
        Where the variable does not name a folder with their code.
    """
    folder = os.environ.get(VARIABLE, "")
    if not folder or not Path(folder, "models", "eomt.py").is_file():
        raise MissingToolboxError(f"set {VARIABLE} to a clone of https://github.com/tue-mps/eomt")
    packages = ("models", "training")
    before = {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] in packages}
    sys.path.insert(0, folder)
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(folder)
        for name in [*sys.modules]:
            if name.partition(".")[0] in packages:
                del sys.modules[name]
        sys.modules.update(before)


@dataclass(frozen=True)
class EoMT(Reference):
    """A model of EoMT's authors, on a ViT of DINOv2 or of DINOv3.

    Attributes
    ----------
    dinov3 : bool
        Whose encoder it is.
    encoder_size : str
        "small" or "large".
    size : int
        Height and width of the images.
    classes, queries, blocks : int
        Of the head.
    """

    dinov3: bool
    encoder_size: str = "small"
    size: int = SIZE
    classes: int = CLASSES
    queries: int = QUERIES
    blocks: int = BLOCKS
    toolbox: ClassVar[str] = "eomt"
    package: ClassVar[str] = "eomt"
    encoder: str = "network"

    def build(self) -> nn.Module:
        """Return their Lightning module's network under the name that it has there."""
        method, encoders = modules()
        size = (self.size, self.size)
        if self.dinov3:
            with mock.patch.object(encoders.AutoModel, "from_pretrained", lambda _: dinov3(self.encoder_size)):
                encoder = encoders.ViT(size, backbone_name="facebook/dinov3")
        else:
            name = DINOV2.replace("small", self.encoder_size)
            encoder = encoders.ViT(size, backbone_name=name, ckpt_path="none")  # without downloading weights
        return nn.ModuleDict({"network": method.EoMT(encoder, self.classes, self.queries, self.blocks)})

    def settings(self) -> str:
        """Return what their classes are called with."""
        given = {"img_size": self.size, "num_classes": self.classes, "num_q": self.queries, "num_blocks": self.blocks}
        return json.dumps(given)

    def origin(self) -> str:
        """Return where their code is."""
        return "https://github.com/tue-mps/eomt"

    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """Return scores [B, K, h, w] as their `to_per_pixel_logits_semantic` makes them of masks, resized or not.

        Their network normalises images in 0…1 by itself.
        """
        network: Any = model["network"]  # type: ignore[index]
        encoder = network.encoder
        masks, classes = network(images * encoder.pixel_std + encoder.pixel_mean)
        last = F.interpolate(masks[-1], images.shape[-2:], mode="bilinear") if at_image_size else masks[-1]
        return torch.einsum("bqhw,bqc->bchw", last.sigmoid(), classes[-1].softmax(dim=-1)[..., :-1])

    def losses(self, model: nn.Module, images: Tensor, targets: Tensor) -> Losses:
        """Their losses are transformers' of Mask2Former, with which vitrail's are compared for its EoMT."""
        raise NotImplementedError


def dinov3(size: str) -> Any:
    """Return a DINOv3 of transformers, with the modules that their code takes it apart into."""
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    width, depth = {"small": (384, 12), "large": (1024, 24)}[size]
    shape = {"hidden_size": width, "num_attention_heads": width // 64, "intermediate_size": 4 * width}
    model: Any = DINOv3ViTModel(DINOv3ViTConfig(num_register_tokens=4, num_hidden_layers=depth, **shape))
    if not hasattr(model, "layer"):  # since transformers 5 within a module
        model.layer = model.model.layer
        del model.model
    return model


def import_eomt(tensors: Mapping[str, Tensor], *, dinov3: bool) -> Segmentor:
    """Return the model that the importer makes of a file with these tensors."""
    section = section_of(dinov3=dinov3)
    given: dict[str, Any] = {**section.options, "backbone_options": section.backbone_options}
    model = create_model("eomt", section.backbone, CLASSES, **given)
    model.load_state_dict(EoMTAuthors().renaming(section).to_ours(tensors, "reference.bin"))
    return model


def section_of(*, dinov3: bool) -> ModelConfig:
    """Return how vitrail builds the model."""
    encoder = {"img_size": SIZE} if dinov3 else {"img_size": SIZE, "patch_size": 16}
    return ModelConfig(
        segmentor="eomt",
        backbone=DINOV3 if dinov3 else DINOV2,
        backbone_options=encoder,
        options={"num_queries": QUERIES, "num_blocks": BLOCKS},
    )


EOMT_AUTHORS = [
    Case(
        f"authors/eomt_{name}",
        EoMT(dinov3),
        classes=CLASSES,
        sizes=((SIZE, SIZE),),
        dtype=torch.float32,
        keep=("network.encoder.pixel_",),
        fixed={"network.attn_mask_probs": [1.0] * BLOCKS},
        imports=partial(import_eomt, dinov3=dinov3),
    )
    for name, dinov3 in (("dinov2", False), ("dinov3", True))
]
