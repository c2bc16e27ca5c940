"""Comparisons with independent implementations: for tests, benchmarks and tools.

A comparison is a row of `parity.cases`: a model of another toolbox, the settings that make it small, and the names of
its losses. How our side is built is not written there: the importer of the toolbox derives it from the same settings.

To add a row, add a `Case` to `parity.cases` and run `python -m parity.golden NAME` with the [parity] extra installed:
this runs the reference once and writes `tests/golden/NAME.npz`, from which `make test` proves the method and its
importer without the other toolbox. `make parity` repeats every comparison live and checks the golden files.
"""
