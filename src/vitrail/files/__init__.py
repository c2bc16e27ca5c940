"""Files that cannot be trusted or must not be half written: safe readers, downloads, atomic writes."""
