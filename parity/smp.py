"""Models of segmentation_models_pytorch as references, and as models of vitrail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from parity.case import CLASSES, Case
from parity.missing import require
from parity.reference import Losses, Reference
from parity.references import without_dropout
from vitrail.checkpoints.sources.smp.source import translate_config
from vitrail.segmentors import Segmentor, build_model


def smp() -> ModuleType:
    """Return the package."""
    return require("segmentation_models_pytorch", "segmentation_models_pytorch")


@dataclass(frozen=True)
class Smp(Reference):
    """A model of segmentation_models_pytorch.

    Attributes
    ----------
    kind : str
        Its class.
    arguments : tuple of (str, value)
        Of the class, besides the number of classes.
    classes : int
        K.
    """

    kind: str
    arguments: tuple[tuple[str, Any], ...]
    classes: int = CLASSES
    toolbox: ClassVar[str] = "smp"
    package: ClassVar[str] = "segmentation_models_pytorch"
    encoder = "encoder"

    def build(self) -> nn.Module:
        """Return the model with the epsilon that the authors of MiT gave the norms, where smp has two."""
        model = self._create()
        for module in model.modules():
            if isinstance(module, nn.LayerNorm) and "mit" in str(dict(self.arguments)["encoder_name"]):
                module.eps = 1e-6
        return without_dropout(model)

    def _create(self) -> nn.Module:
        model: nn.Module = getattr(smp(), self.kind)(encoder_weights=None, classes=self.classes, **dict(self.arguments))
        return model

    def settings(self) -> str:
        """Return the config.json that the model is saved with."""
        return json.dumps({"_model_class": self.kind, **self._create().config}, sort_keys=True)

    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """See `Reference`; its logits have the size of the images."""
        return model(images)

    def losses(self, model: nn.Module, images: Tensor, targets: Tensor) -> Losses:
        """Return the cross entropy of the logits; the package has no losses that belong to its models."""
        total = F.cross_entropy(model(images), targets, ignore_index=255)
        return Losses(total, {"loss": total.item()})


def import_smp(
    kind: str, arguments: Mapping[str, Any], tensors: Mapping[str, Tensor], classes: int = CLASSES
) -> Segmentor:
    """Return the model that the importer makes of what the model was given; what was not has its defaults."""
    section, renaming, _ = translate_config({"_model_class": kind, "classes": classes, **arguments}, "the settings")
    model = build_model(section, classes)
    model.load_state_dict(renaming.to_ours(tensors, "the reference"), strict=True)
    return model


def _case(name: str, kind: str, sizes: tuple[tuple[int, int], ...], **arguments: Any) -> Case:
    return Case(
        f"smp/{name}",
        Smp(kind, tuple(arguments.items())),
        {"seg": "loss"},
        sizes=sizes,
        trained=sizes[-1],
        at_image_size=True,
        imports=partial(import_smp, kind, arguments),
    )


_ANY, _WHOLE = ((64, 64), (65, 97)), ((64, 64), (64, 96))
SMP = [
    _case("unet_resnet18", "Unet", _ANY, encoder_name="resnet18"),
    _case("unet_mit-b0_scse", "Unet", _WHOLE, encoder_name="mit_b0", decoder_attention_type="scse"),
    _case("unetplusplus_resnet18", "UnetPlusPlus", _WHOLE, encoder_name="resnet18"),
    _case("manet_resnet18", "MAnet", _WHOLE, encoder_name="resnet18"),
    _case("linknet_resnet18", "Linknet", _WHOLE, encoder_name="resnet18"),
    _case("fpn_resnet18", "FPN", _WHOLE, encoder_name="resnet18", decoder_merge_policy="cat"),
    _case("pan_resnet18", "PAN", ((128, 128), (128, 192)), encoder_name="resnet18"),
    _case("deeplabv3_resnet18", "DeepLabV3", _WHOLE, encoder_name="resnet18", decoder_aspp_separable=True),
    _case("deeplabv3plus_resnet18", "DeepLabV3Plus", _WHOLE, encoder_name="resnet18"),
    _case("pspnet_resnet18", "PSPNet", _WHOLE, encoder_name="resnet18"),
    _case("upernet_resnet18", "UPerNet", _WHOLE, encoder_name="resnet18", decoder_channels=64),
    _case("segformer_mit-b0", "Segformer", _WHOLE, encoder_name="mit_b0"),
    _case(
        "dpt_vit-tiny",
        "DPT",
        ((224, 224),),
        encoder_name="tu-vit_tiny_patch16_224",
        decoder_intermediate_channels=(16, 16, 32, 32),
        decoder_fusion_channels=32,
    ),
]
