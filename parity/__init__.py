"""Independent implementations, brought to run and compared with: for tests, benchmarks and tools."""
