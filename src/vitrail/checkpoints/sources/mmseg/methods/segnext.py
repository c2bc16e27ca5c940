"""SegNeXt: a Hamburger on the three coarser maps."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import METHODS, ModelSection, Translation, translation
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import UnsupportedError

_BLOCK: Names = {"conv": "0", "gn": "1"}
RENAMING = Renaming(
    {
        "decode_head": ("head", {"conv_seg": "classifier", "squeeze": ("squeeze", _BLOCK), "align": ("align", _BLOCK)}),
        "decode_head.hamburger": ("head.hamburger", {"ham_in.conv": "lower", "ham_out": ("upper", _BLOCK)}),
    }
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = model.decode_head(group_norm=True)
    if head.in_index not in ([1, 2, 3], (1, 2, 3)) or model.encoder.order != (0, 1, 2, 3):
        raise UnsupportedError(f"{head.where} reads the maps {head.in_index}, where vitrail's SegNeXt reads 1, 2 and 3")
    ham = head.settings.section("ham_kwargs")
    options = {
        "channels": head.channels,
        "inner_channels": head.settings.take("ham_channels", 512),
        "rank": ham.take("MD_R", 64),
        "steps": ham.take("train_steps", 6),
        "eval_steps": ham.take("eval_steps", 7),
    }
    ham.must_be("MD_S", 1)
    ham.must_be("rand_init", True)
    ham.pass_over("inv_t")  # which its factorization sets to 1
    ham.finish()
    head.finish()
    return translation(head, model.encoder, options)


METHODS.add("segnext", MethodRecord("LightHamHead", translate, RENAMING), module=__name__)
