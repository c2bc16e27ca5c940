"""Recipes: the settings of a model, its data, its training and its evaluation, loaded from YAML and checked."""

from vitrail.recipes.load import dump_recipe, list_recipes, load_recipe, model_file_recipe, override_recipe
from vitrail.recipes.schema import (
    AugmentationConfig,
    AugmentConfig,
    DataConfig,
    EvalConfig,
    LoggerConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    ParamRule,
    Recipe,
    Reference,
    ResizeConfig,
    ScheduleConfig,
    StrategyConfig,
    TrainConfig,
    WarmupConfig,
)
from vitrail.recipes.validate import recipe_from_dict

__all__ = [
    "AugmentConfig",
    "AugmentationConfig",
    "DataConfig",
    "EvalConfig",
    "LoggerConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ParamRule",
    "Recipe",
    "Reference",
    "ResizeConfig",
    "ScheduleConfig",
    "StrategyConfig",
    "TrainConfig",
    "WarmupConfig",
    "dump_recipe",
    "list_recipes",
    "load_recipe",
    "model_file_recipe",
    "override_recipe",
    "recipe_from_dict",
]
