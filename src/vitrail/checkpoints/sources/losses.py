"""The criteria of a recipe from the losses that another project gives its heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vitrail.checkpoints.sources.settings import UnsupportedError

Terms = list[dict[str, Any]]


def auxiliary_losses(main: Terms, auxiliary: Sequence[Terms], where: str) -> Terms | None:
    """Return the criterion of the auxiliary heads, or None where it is that of the main head.

    Parameters
    ----------
    main : list of dict
        The terms of the main head, as `vitrail.recipes.LossConfig` has them.
    auxiliary : sequence of lists of dict
        Those of each auxiliary head. What its first term weighs is the weight of the head, which is left out.
    where : str
        For messages.

    Raises
    ------
    UnsupportedError
        When auxiliary heads differ in more than their weight.
    """
    others = [_of_weight_one(terms) for terms in auxiliary if terms[0]["weight"]]
    if any(terms != others[0] for terms in others):
        raise UnsupportedError(f"{where}: the auxiliary heads of vitrail's methods have the same losses")
    return None if not others or others[0] == main else others[0]


def _of_weight_one(terms: Terms) -> Terms:
    return [{**term, "weight": term["weight"] / terms[0]["weight"]} for term in terms]
