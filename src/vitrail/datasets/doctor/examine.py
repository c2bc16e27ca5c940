"""Running all checks on the splits of a dataset."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Literal

from vitrail.datasets.doctor.checks import PAIR_CHECKS, RUN_CHECKS, SPLIT_CHECKS
from vitrail.datasets.doctor.finding import Finding
from vitrail.datasets.doctor.plan import RunPlan
from vitrail.datasets.doctor.survey import SplitSurvey
from vitrail.errors import DatasetError

logger = logging.getLogger(__name__)


def examine(surveys: Sequence[SplitSurvey], plan: RunPlan | None = None) -> list[Finding]:
    """Return what the checks find, the gravest first.

    Parameters
    ----------
    surveys : sequence of SplitSurvey
        The splits; the first one is that of training, and each other one is compared with it.
    plan : RunPlan, optional
        The run that they are for.
    """
    found = [finding for survey in surveys for check in SPLIT_CHECKS for finding in check(survey)]
    found += [f for other in surveys[1:] for pair_check in PAIR_CHECKS for f in pair_check(surveys[0], other)]
    if plan is not None:
        found += [finding for run_check in RUN_CHECKS for finding in run_check(list(surveys), plan)]
    order = ("stop", "warning", "note")
    return sorted(dict.fromkeys(found), key=lambda finding: order.index(finding.severity))


def act_on(findings: Iterable[Finding], what: Literal["stop", "warn"]) -> None:
    """Warn of findings, and refuse to train where one of them says so.

    Parameters
    ----------
    findings : iterable of Finding
        Of `examine`.
    what : {"stop", "warn"}
        "warn" warns of everything and stops at nothing.

    Raises
    ------
    DatasetError
        For findings of the severity "stop".
    """
    findings = list(findings)
    stops = [finding for finding in findings if finding.severity == "stop" and what == "stop"]
    for finding in findings:
        if finding.severity != "note" and finding not in stops:
            logger.warning("%s", finding)
    if stops:
        listed = "\n".join(map(str, stops))
        raise DatasetError(f"{listed}\nTo train all the same, set data.check=warn.")
