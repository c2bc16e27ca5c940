"""Sources of images to segment."""
