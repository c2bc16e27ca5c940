"""Where a model runs: device, precision, progress display, processes."""
