"""Overlays, legends, colour masks."""

from vitrail.visualize.legend import legend, with_legend
from vitrail.visualize.overlay import class_counts, colour_mask, index_mask, overlay
from vitrail.visualize.palette import generate_palette

__all__ = ["class_counts", "colour_mask", "generate_palette", "index_mask", "legend", "overlay", "with_legend"]
