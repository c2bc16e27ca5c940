"""DDRNet: a light head on its own encoder, supervised early too."""

from __future__ import annotations

from typing import Any

from vitrail.checkpoints.sources.mmseg.heads import METHODS, ModelSection, Translation
from vitrail.checkpoints.sources.mmseg.losses import translate_losses
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import UnsupportedError

_DECODER: Names = {"0": "conv", "1": "norm"}
RENAMING = Renaming(
    {
        "decode_head.head": ("head.decoder", _DECODER),
        "decode_head.conv_seg": "head.decoder.classifier",
        "decode_head.aux_head": ("head.early", _DECODER),
        "decode_head.aux_cls_seg": "head.early.classifier",
    }
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = model.decode_head()
    head.settings.pass_over("act_cfg")
    main, early = translate_losses(head.losses, head.sampler, f"{head.where}.loss_decode")
    if {**early, "weight": 0.0} != {**main, "weight": 0.0} or main["weight"] != 1.0:
        raise UnsupportedError(f"{head.where} has two losses of different kinds")
    options: dict[str, Any] = {"channels": head.channels, "early_weight": early["weight"], "dropout": head.dropout}
    options |= {"align_corners": True} if head.align_corners else {}
    head.finish()
    return Translation(model.encoder, head.num_classes, options, [main])


METHODS.add("ddrnet", MethodRecord("DDRHead", translate, RENAMING), module=__name__)
