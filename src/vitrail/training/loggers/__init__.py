"""Loggers of training runs: text, JSON lines, TensorBoard, Weights & Biases, MLflow, and those of plugins."""

from vitrail.training.loggers import jsonl_logger, mlflow_logger, tensorboard_logger, text_logger, wandb_logger
from vitrail.training.loggers.logger import (
    LOGGERS,
    Logger,
    Picture,
    RunInfo,
    create_loggers,
    list_loggers,
    register_logger,
)

__all__ = [
    "LOGGERS",
    "Logger",
    "Picture",
    "RunInfo",
    "create_loggers",
    "jsonl_logger",
    "list_loggers",
    "mlflow_logger",
    "register_logger",
    "tensorboard_logger",
    "text_logger",
    "wandb_logger",
]
