"""Read masks in MATLAB files, the format of COCO-Stuff's first release."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrail.datasets.image_files import check_size
from vitrail.errors import DatasetError

MATLAB_HEADER = b"MATLAB 5.0 MAT-file"
_VARIABLE = "S"  # COCO-Stuff's name of the label map


def read_matlab(data: bytes, where: str) -> npt.NDArray[Any]:
    """Read a label map from a MATLAB file of format 5 to 7 (not 7.3).

    Parameters
    ----------
    data : bytes
        Content of the file, with the labels in a variable `S`.
    where : str
        Name of the file for error messages.

    Returns
    -------
    ndarray
        [H, W] of an integer type.

    Raises
    ------
    DatasetError
        When scipy is not installed, or the file is damaged or holds no label map.
    """
    try:
        from scipy.io import loadmat, whosmat
    except ImportError as error:
        raise DatasetError(f"reading the mask {where} needs scipy: pip install 'vitrail[matlab]'") from error
    try:
        for name, shape, _ in whosmat(io.BytesIO(data)):  # which unpacks no more than the headers
            if name == _VARIABLE and len(shape) == 2:
                check_size(shape[1], shape[0], where)
        values = loadmat(io.BytesIO(data), variable_names=[_VARIABLE])[_VARIABLE]
    except DatasetError:
        raise
    except Exception as error:  # a damaged file makes scipy raise almost anything
        raise DatasetError(f"cannot read the mask {where}: {error!r}; is the download complete?") from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or not np.issubdtype(values.dtype, np.integer):
        raise DatasetError(f"the mask {where} holds no label map [H, W] of integers as its variable {_VARIABLE}")
    return values
