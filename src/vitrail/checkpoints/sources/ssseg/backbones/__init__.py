"""SSSegmentation's encoders, a record in each file."""

from vitrail.registry import import_submodules

import_submodules(__name__, __path__)
