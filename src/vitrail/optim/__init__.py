"""Optimizers, parameter groups and learning-rate schedules."""

from vitrail.optim.groups import parameter_groups
from vitrail.optim.optimizers import create_optimizer
from vitrail.optim.schedules import create_schedule

__all__ = ["create_optimizer", "create_schedule", "parameter_groups"]
