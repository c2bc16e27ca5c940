"""Drawing of masks: overlays, legends, colour masks, palettes."""

from vitrail.visualize.legend import legend, with_legend
from vitrail.visualize.overlay import as_rgb, class_counts, colour_mask, index_mask, overlay
from vitrail.visualize.palette import distinct_colours

__all__ = [
    "as_rgb",
    "class_counts",
    "colour_mask",
    "distinct_colours",
    "index_mask",
    "legend",
    "overlay",
    "with_legend",
]
