"""Checkpoints of SSSegmentation (github.com/SegmentationBLWX/sssegmentation, Apache-2.0)."""
