"""Reading of ``.npy`` arrays, whose declared size is compared with the file before memory is taken."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_BYTES = 2**32
"""Largest array that is read."""


def read_npy(path: Path) -> npt.NDArray[Any]:
    """Return the array of a ``.npy`` file; no code in the file is executed.

    Args:
        path: The file.

    Returns:
        The array, in memory.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no array, holds Python objects, is shorter than its header declares, or too large.
    """
    # Mapping compares the declared size with that of the file; np.load alone allocates what the header declares.
    values = map_npy(path)
    if values.nbytes > MAX_BYTES:
        raise ValueError(f"it declares {values.nbytes / 1e9:.1f} GB, but at most {MAX_BYTES / 1e9:.1f} GB are read")
    return np.array(values)


def map_npy(path: Path) -> npt.NDArray[Any]:
    """Return the array of a ``.npy`` file without reading its values.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no array, holds Python objects, or is shorter than its header declares.
    """
    try:
        values = np.load(path, allow_pickle=False, mmap_mode="r")
    except (EOFError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"its header is damaged ({error or type(error).__name__})") from error
    if not isinstance(values, np.ndarray):
        values.close()
        raise ValueError("it is a NumPy archive (.npz), but one array is needed")
    return values
