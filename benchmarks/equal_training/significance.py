"""Whether one trainer is worse than another, from a few runs of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

LEVEL = 0.05


@dataclass(frozen=True)
class Sample:
    """Results of runs that differ in their seeds.

    Attributes
    ----------
    values : tuple of float
        One for each run.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean."""
        return math.fsum(self.values) / len(self.values)

    @property
    def variance_of_mean(self) -> float | None:
        """The variance of the mean; None for a single run."""
        count = len(self.values)
        if count < 2:
            return None
        return math.fsum((value - self.mean) ** 2 for value in self.values) / (count - 1) / count

    @property
    def error(self) -> float | None:
        """The standard error of the mean; None for a single run."""
        return None if self.variance_of_mean is None else math.sqrt(self.variance_of_mean)


@dataclass(frozen=True)
class Difference:
    """How much higher the first of two samples is.

    Attributes
    ----------
    value : float
        Of the means.
    error : float or None
        Its standard error; None where a sample is a single run.
    degrees : float or None
        Degrees of freedom after Welch and Satterthwaite.
    """

    value: float
    error: float | None
    degrees: float | None

    @property
    def p_lower(self) -> float | None:
        """The probability of a difference so low or lower if the first were as good as the second (Welch's t-test)."""
        if not self.error or self.degrees is None:
            return None
        return float(stats.t.cdf(self.value / self.error, self.degrees))

    @property
    def significantly_lower(self) -> bool | None:
        """Whether the first is significantly worse, at the level 0.05; None where that cannot be told."""
        return None if self.p_lower is None else self.p_lower < LEVEL

    @property
    def interval(self) -> float | None:
        """Half the width of the interval that holds the difference with a probability of 95 %."""
        if self.error is None or self.degrees is None:
            return None
        return float(stats.t.ppf(0.975, self.degrees)) * self.error


def difference(first: Sample, second: Sample) -> Difference:
    """Return by how much the mean of the first is higher than that of the second."""
    return combined([(first, 1.0), (second, -1.0)])


def pooled(pairs: Sequence[tuple[Sample, Sample]]) -> Difference:
    """Return the mean of the differences of several pairs."""
    share = 1 / len(pairs)
    return combined([part for first, second in pairs for part in ((first, share), (second, -share))])


def combined(parts: Sequence[tuple[Sample, float]]) -> Difference:
    """Return a weighted sum of means, with its standard error and degrees of freedom."""
    value = math.fsum(weight * sample.mean for sample, weight in parts)
    variances = [
        (weight**2 * sample.variance_of_mean, len(sample.values))
        for sample, weight in parts
        if sample.error is not None
    ]
    if len(variances) < len(parts):
        return Difference(value, None, None)
    total = math.fsum(variance for variance, _ in variances)
    below = math.fsum(variance**2 / (count - 1) for variance, count in variances)
    return Difference(value, math.sqrt(total), total**2 / below if below else None)
