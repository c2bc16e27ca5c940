"""PSPNet: a pyramid of pooled maps."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import METHODS, PYRAMID, head_renaming, with_auxiliary

RENAMING = head_renaming({**PYRAMID, "ppm_net.bottleneck": ("head.fuse", CONV_NORM), "decoder.1": "head.classifier"})

METHODS.add("pspnet", MethodRecord("PSPNet", with_auxiliary(pool_sizes="pool_scales"), RENAMING), module=__name__)
