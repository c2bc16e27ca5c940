"""Side-by-side runs against other toolboxes: `python -m benchmarks.methods`, run in the root of the repository."""
