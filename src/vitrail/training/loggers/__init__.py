"""Loggers of training runs."""
