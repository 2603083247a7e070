"""Conversion of the values of a metric depth file to metres; saturated values become unknown."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datamodules.loading.notices import tally, warn_once

SATURATED = "saturated depth"
"""Key of the count (``datamodules/loading/notices.py``) of pixels with the largest value of their file's type."""

FEW = 0.01
"""Share of an image below which messages give a pixel count instead of a percentage."""

SIXTEEN_BITS = 65535
"""Largest value of a 16-bit PNG, for any type that it is decoded to."""


def share_of(count: int, total: int) -> str:
    """Return the beginning of a sentence with the share of some pixels, or their number if the share rounds to 0%.

    >>> share_of(3, 76800), share_of(768, 3072)
    ('3 pixels of the depth are', '25% of the depth is')
    """
    if count / total >= FEW:
        return f"{count / total:.0%} of the depth is"
    return f"{count} pixel{'s of the depth are' if count > 1 else ' of the depth is'}"


def to_metres(
    values: npt.NDArray[Any], units_per_metre: float, *, path: Path, data: str | None = None
) -> npt.NDArray[np.float32]:
    """Return the metric depth of a file in metres.

    Sensors and tools write the largest value of an integer type, 65535 in a 16-bit PNG, for "too far" or "unknown". It
    becomes 0 (no measurement), is counted, and is reported once per data set. Floating-point files have no such value.

    Args:
        values: ``(H, W)``, as stored in the file.
        units_per_metre: File units per metre.
        path: The file, for messages.
        data: Data set under which saturated pixels are counted and reported; None uses the folder of the file.

    Returns:
        float32 ``(H, W)``, metres, 0 where unknown.
    """
    metres = (values.astype(np.float64) / units_per_metre).astype(np.float32)
    if values.dtype.kind not in "iu" or values.size == 0:
        return metres
    largest = SIXTEEN_BITS if path.suffix.lower() == ".png" else int(np.iinfo(values.dtype).max)
    saturated = values == largest
    count = int(np.count_nonzero(saturated))
    if count == 0:
        return metres
    metres[saturated] = 0
    data = str(path.parent) if data is None else data
    tally(data, SATURATED, count)
    warn_once(
        data,
        SATURATED,
        f"{path}: {share_of(count, values.size)} {largest}, the largest value of its type, which means too far or "
        "unknown: such pixels count as not measured (0), here and in all other files of the set.",
    )
    return metres
