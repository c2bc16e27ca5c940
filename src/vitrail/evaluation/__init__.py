"""Evaluation of a model on a dataset."""

from vitrail.evaluation.calibration import Calibration
from vitrail.evaluation.evaluator import evaluate
from vitrail.evaluation.parts import merge_evaluations
from vitrail.evaluation.result import Evaluation

__all__ = ["Calibration", "Evaluation", "evaluate", "merge_evaluations"]
