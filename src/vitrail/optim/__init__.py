"""Optimizers, parameter groups and learning-rate schedules."""

from vitrail.optim import timm_optimizers
from vitrail.optim.groups import parameter_groups
from vitrail.optim.optimizers import OPTIMIZERS, create_optimizer, list_optimizers, register_optimizer
from vitrail.optim.schedules import SCHEDULES, create_schedule, list_schedules, register_schedule

timm_optimizers.register()

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "create_optimizer",
    "create_schedule",
    "list_optimizers",
    "list_schedules",
    "parameter_groups",
    "register_optimizer",
    "register_schedule",
]
