"""DPT: maps of a plain transformer reassembled at four sizes and fused."""

from __future__ import annotations

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.layouts import Change, as_convolution, as_matrix
from vitrail.checkpoints.sources.mmseg.heads import METHODS, ModelSection, Translation, translation
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import UnsupportedError

_UNIT: Names = {
    f"conv{number}.{part}": f"body.{place}"
    for number, part, place in ((1, "conv", 1), (1, "bn", 2), (2, "conv", 4), (2, "bn", 5))
}
_ASSEMBLE = "decode_head.reassemble_blocks"
RENAMING = Renaming(
    {
        f"{_ASSEMBLE}.readout_projects.*.0": "head.reassemble.*.readout",
        f"{_ASSEMBLE}.projects.*.conv": "head.reassemble.*.project",
        f"{_ASSEMBLE}.resize_layers.*": "head.reassemble.*.rescale",
        "decode_head.convs.*.conv": "head.convs.*",
        "decode_head.fusion_blocks.*": (
            "head.fusions.*",
            {"project.conv": "project", "res_conv_unit1": ("side", _UNIT), "res_conv_unit2": ("refine", _UNIT)},
        ),
        "decode_head.project": "head.project",
        "decode_head.conv_seg": "head.classifier",
    },
    (Change("readout.weight", as_convolution, as_matrix),),
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = model.decode_head()
    settings = head.settings
    if as_lists(head.in_index) != [0, 1, 2, 3] or not model.encoder.options.get("append_class_token"):
        raise UnsupportedError(f"{head.where}: vitrail's DPT reads four maps and the class token of each")
    if settings.take("readout_type", "ignore") != "project":
        raise UnsupportedError(f"{head.where}: vitrail's DPT projects the class token together with the pixels")
    options = {
        "channels": head.channels,
        "map_channels": as_lists(settings.take("post_process_channels", [96, 192, 384, 768])),
    }
    settings.must_be("input_transform", "multiple_select")
    settings.must_be("expand_channels", False)
    settings.must_be("patch_size", 16)
    settings.pass_over("embed_dims")
    head.finish()
    return translation(head, model.encoder, options)


METHODS.add("dpt", MethodRecord("DPTHead", translate, RENAMING), module=__name__)
