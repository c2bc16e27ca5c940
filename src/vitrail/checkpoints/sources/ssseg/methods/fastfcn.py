"""FastFCN: joint pyramid upsampling between the encoder and the head of another method."""

from __future__ import annotations

from vitrail.checkpoints.sources.layouts import Within
from vitrail.checkpoints.sources.records import MethodRecord, renaming_for
from vitrail.checkpoints.sources.renaming import Renaming, combine
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM, SEPARABLE
from vitrail.checkpoints.sources.ssseg.heads import METHODS, Config, Options, Translate
from vitrail.recipes import ModelConfig

UPSAMPLING = Renaming(
    {
        "jpu_neck.conv_layers.*": ("backbone.upsampling.projections.*", CONV_NORM),
        "jpu_neck.dilation_layers.*": ("backbone.upsampling.dilated.*", SEPARABLE),
    },
    before=(Within("segmentor", beside="jpu_neck"),),
)


def translate_with(plain: str) -> Translate:
    """Return the translation of FastFCN with the head of the method `plain`."""

    def translate(config: Config) -> tuple[Options, Options]:
        options, auxiliary = METHODS[plain].translate(config)
        upsampling = config["head"]["jpu"]
        options |= {
            "upsampling_channels": upsampling["mid_channels"],
            "upsampling_dilations": upsampling["dilations"],
        }
        return options, auxiliary

    return translate


def renaming_with(plain: str, model: ModelConfig) -> Renaming:
    """Return the renaming of FastFCN with the head of the method `plain`."""
    return combine(UPSAMPLING, renaming_for(METHODS[plain].renaming, model))


def _add(name: str, segmentor: str, plain: str) -> None:
    record = MethodRecord(
        f"FastFCN+{segmentor}", translate_with(plain), lambda model: renaming_with(plain, model), inside="trunk"
    )
    METHODS.add(name, record, module=__name__)


_add("fastfcn_fcn", "FCN", "fcn")
_add("fastfcn_pspnet", "PSPNet", "pspnet")
_add("fastfcn_deeplabv3", "Deeplabv3", "deeplabv3")
_add("fastfcn_encnet", "ENCNet", "encnet")
