"""Warnings that several splits of a dataset would repeat."""

from __future__ import annotations

import functools
import logging

logger = logging.getLogger(__name__)


@functools.cache
def warn_once(message: str) -> None:
    """Warn for the first split that is opened, and not again for the others."""
    logger.warning(message)
