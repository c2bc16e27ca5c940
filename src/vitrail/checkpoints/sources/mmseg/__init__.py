"""Checkpoints of MMSegmentation (github.com/open-mmlab/mmsegmentation, Apache-2.0)."""
