"""Values of segmentation masks that every package agrees on."""

from __future__ import annotations

IGNORE = 255
"""Mask value of pixels that belong to no class: they count in no loss and in no metric."""
