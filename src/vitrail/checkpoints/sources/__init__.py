"""Checkpoint sources: how each project saves its models, translated into ours and back."""

from vitrail.checkpoints.sources import (
    cgnet_authors,
    efficientvit,
    eomt_authors,
    regseg,
    sctnet,
    torchvision,
    vitrail_file,
)
from vitrail.checkpoints.sources.mmseg import source as mmseg_source
from vitrail.checkpoints.sources.smp import source as smp_source
from vitrail.checkpoints.sources.source import SOURCES, DeltaSource, Source, Writer, register_source
from vitrail.checkpoints.sources.ssseg import source as ssseg_source
from vitrail.checkpoints.sources.transformers import source as transformers_source

__all__ = [
    "SOURCES",
    "DeltaSource",
    "Source",
    "Writer",
    "cgnet_authors",
    "efficientvit",
    "eomt_authors",
    "mmseg_source",
    "register_source",
    "regseg",
    "sctnet",
    "smp_source",
    "ssseg_source",
    "torchvision",
    "transformers_source",
    "vitrail_file",
]
