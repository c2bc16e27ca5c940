"""Recipes: the settings of a model, its data, its training and its evaluation, loaded from YAML and checked."""

from vitrail.recipes.data_section import (
    AugmentationConfig,
    AugmentConfig,
    ClassSamplingConfig,
    DataConfig,
    ResizeConfig,
)
from vitrail.recipes.load import dump_recipe, list_recipes, load_recipe, model_file_recipe, override_recipe
from vitrail.recipes.mmseg import list_mmseg_recipes
from vitrail.recipes.schema import (
    AuxiliaryConfig,
    EarlyStoppingConfig,
    EvalConfig,
    LoggerConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    ParamRule,
    Recipe,
    Reference,
    ScheduleConfig,
    StrategyConfig,
    TrainConfig,
    WarmupConfig,
)
from vitrail.recipes.validate import model_config_from_dict, recipe_from_dict

__all__ = [
    "AugmentConfig",
    "AugmentationConfig",
    "AuxiliaryConfig",
    "ClassSamplingConfig",
    "DataConfig",
    "EarlyStoppingConfig",
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
    "list_mmseg_recipes",
    "list_recipes",
    "load_recipe",
    "model_config_from_dict",
    "model_file_recipe",
    "override_recipe",
    "recipe_from_dict",
]
