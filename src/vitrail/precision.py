"""The precisions that a model can compute in: one definition for recipes, functions and the command line."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Precision: TypeAlias = Literal["none", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
