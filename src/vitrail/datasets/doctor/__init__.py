"""The check of a dataset before it is trained on: every file is looked at once, and what is wrong is said."""

from vitrail.datasets.doctor.examine import act_on, examine
from vitrail.datasets.doctor.finding import Finding
from vitrail.datasets.doctor.plan import RunPlan
from vitrail.datasets.doctor.survey import SplitSurvey, in_files, survey

__all__ = ["Finding", "RunPlan", "SplitSurvey", "act_on", "examine", "in_files", "survey"]
