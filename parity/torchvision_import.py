"""Models of torchvision as models of vitrail."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from parity.renaming import Rules, rename
from vitrail import Auxiliary, create_model
from vitrail.segmentors import Segmentor

_FCN: Rules = (
    (r"^backbone\.", "backbone.encoder."),
    (r"^(aux_)?classifier\.0\.", r"\1classifier.convs.0.conv."),
    (r"^(aux_)?classifier\.1\.", r"\1classifier.convs.0.bn."),
    (r"^(aux_)?classifier\.4\.", r"\1classifier.classifier."),
    (r"^aux_classifier\.", "auxiliary.0."),
    (r"^classifier\.", "head."),
)


def import_fcn(tensors: Mapping[str, Tensor]) -> Segmentor:
    """Return torchvision's FCN on a ResNet-50."""
    classes = tensors["classifier.4.bias"].shape[0]
    model = create_model("fcn", "resnet50", classes, output_stride=8, num_convs=1, auxiliary=Auxiliary(channels=(256,)))
    model.load_state_dict(rename(tensors, _FCN), strict=True)
    return model
