"""Recipes: the settings of a model, its data, its training and its evaluation, loaded from YAML and checked."""

from vitrail.recipes.load import dump_recipe, list_recipes, load_recipe, model_file_recipe, override_recipe
from vitrail.recipes.schema import (
    AugmentConfig,
    AuxiliaryConfig,
    DataConfig,
    EvalConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    ParamRule,
    Recipe,
    Reference,
    ResizeConfig,
    ScheduleConfig,
    TrainConfig,
    WarmupConfig,
)
from vitrail.recipes.validate import model_config_from_dict, recipe_from_dict

__all__ = [
    "AugmentConfig",
    "AuxiliaryConfig",
    "DataConfig",
    "EvalConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ParamRule",
    "Recipe",
    "Reference",
    "ResizeConfig",
    "ScheduleConfig",
    "TrainConfig",
    "WarmupConfig",
    "dump_recipe",
    "list_recipes",
    "load_recipe",
    "model_config_from_dict",
    "model_file_recipe",
    "override_recipe",
    "recipe_from_dict",
]
