"""What builds the data files and the pages of the documentation; no part of the package."""
