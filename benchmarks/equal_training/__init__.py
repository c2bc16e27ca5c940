"""The parts of `benchmarks.accuracy`: the same recipe trained by vitrail and by other toolboxes."""
