"""Values in masks that stand for no class."""

from __future__ import annotations

IGNORE = 255  # pixels that neither losses nor evaluation count
