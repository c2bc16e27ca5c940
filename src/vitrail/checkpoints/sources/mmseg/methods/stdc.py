"""STDC: an FCN head on its own encoder, with early heads on the context and one on the details."""

from __future__ import annotations

import torch

from vitrail.checkpoints.sources.layouts import OnlyTheirs
from vitrail.checkpoints.sources.losses import auxiliary_losses
from vitrail.checkpoints.sources.mmseg.heads import METHODS, Head, ModelSection, Translation, one_width, translation
from vitrail.checkpoints.sources.mmseg.losses import first_weight, translate_losses
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import UnsupportedError

_HEAD: Names = {"conv_seg": "classifier"}
_LAPLACIAN = [[-1.0, -1.0, -1.0], [-1.0, 8.0, -1.0], [-1.0, -1.0, -1.0]]
_EDGE_WEIGHTS = [0.6, 0.3, 0.1]
RENAMING = Renaming(
    {
        "decode_head": ("head", _HEAD),
        **{f"auxiliary_head.{i}": (f"head.early.{i}", _HEAD) for i in range(2)},
        "auxiliary_head.2": ("head.detail", _HEAD),
    },
    (
        # constants of the detail targets, which are no weights here
        OnlyTheirs(
            "detail.laplacian_kernel", "detail.classifier.bias", lambda bias: torch.tensor([[_LAPLACIAN]]).to(bias)
        ),
        OnlyTheirs(
            "detail.fusion_kernel",
            "detail.classifier.bias",
            lambda bias: torch.tensor(_EDGE_WEIGHTS).view(1, 3, 1, 1).to(bias),
        ),
    ),
)
# The losses of the details, but for their weights.
_DETAIL_LOSSES = [
    ("binary_cross_entropy", {"ignored_in_mean": True}),
    ("dice", {"sigmoid": True, "squared": True, "per_class": False, "eps": 1e-3, "ignored_in_mass": True}),
]


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    where = f"{model.where}.auxiliary_head"
    if [values.get("type") for values in model.auxiliary_heads] != ["FCNHead", "FCNHead", "STDCHead"]:
        raise UnsupportedError(f"{where}: vitrail's STDC has two FCNHeads and one STDCHead")
    head = model.decode_head()
    head.read_last_map(model.encoder)
    *early, detail = (Head(values, where) for values in model.auxiliary_heads)
    maps = [each.map_index(model.encoder) for each in (*early, detail)]
    if maps != [-2, -3, -4] or detail.num_classes != 2:
        raise UnsupportedError(f"{where}: its heads read the maps {maps} and tell {detail.num_classes} kinds of pixels")
    if any(each.align_corners for each in early) or detail.align_corners != head.align_corners:
        raise UnsupportedError(f"{where}: vitrail's STDC aligns the corners of its last logits and of the details only")
    options = {
        "channels": head.channels,
        "early_channels": one_width([each.channels for each in (*early, detail)], where),
        "early_weight": first_weight(early[0].losses),
        "detail_weight": _detail_weight(detail),
        "edge_threshold": detail.settings.take("boundary_threshold", 0.1),
    }
    for each in (head, *early, detail):
        each.must_have_convolutions(1)
        each.finish()
    translated = translation(head, model.encoder, options)
    terms = [translate_losses(each.losses, each.sampler, where) for each in early]
    if auxiliary_losses(translated.losses, terms, where) is not None:
        raise UnsupportedError(f"{where}: vitrail's STDC has the same losses on its early logits as on its last ones")
    return Translation(
        model.encoder,
        head.num_classes,
        {**translated.options, "align_corners": head.align_corners},
        translated.losses,
        own_auxiliary=True,
    )


def _detail_weight(detail: Head) -> float:
    """Return the weight of the losses of the details, which have to be vitrail's."""
    terms = translate_losses(detail.losses, detail.sampler, detail.where)
    weights = {float(term["weight"]) for term in terms}
    if [(term["name"], term["options"]) for term in terms] != _DETAIL_LOSSES or len(weights) != 1:
        raise UnsupportedError(f"{detail.where}: vitrail's STDC has binary cross entropy and Dice on its details")
    return weights.pop()


METHODS.add("stdc", MethodRecord("FCNHead", translate, RENAMING, over="STDCContextPathNet"), module=__name__)
