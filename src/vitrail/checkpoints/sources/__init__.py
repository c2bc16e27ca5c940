"""Checkpoints of other projects: how each project saves its models, translated into ours."""
