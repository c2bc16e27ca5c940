"""Reading small text files that any program may have written."""

from __future__ import annotations

import codecs

from vitrail.datasets.files_path import Place, read_place
from vitrail.errors import DatasetError
from vitrail.files.regular import MAX_BYTES

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_text(path: Place) -> str:
    """Return the content of a text file in UTF-8 or UTF-16, without its byte-order mark.

    Raises
    ------
    DatasetError
        When it cannot be read, or has another encoding.
    """
    return decode_text(read_place(path, DatasetError, MAX_BYTES), str(path))


def decode_text(data: bytes, where: str) -> str:
    """Decode the content of a text file; see `read_text`."""
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if encoding is None:  # PowerShell's UTF-16 has a mark, but other programs leave it out
        zeros = data[:512].count(0)
        encoding = "utf-8" if not zeros else "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{where} is no text in UTF-8 ({error}): save it as UTF-8") from error
