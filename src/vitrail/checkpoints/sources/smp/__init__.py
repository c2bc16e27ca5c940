"""Models of segmentation_models_pytorch (smp)."""
