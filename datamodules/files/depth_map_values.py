"""Conversion of the values of a depth map file to depth at a given size, with counts of invalid values."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from datamodules.samples.instance_transforms import resize_known
from geometry.written_depth import depth_from_values

PLAUSIBLE_M = (0.05, 300.0)
"""Range of a plausible median depth in metres."""

_SHOWN = 3


@dataclass(frozen=True)
class DepthEncoding:
    """Encoding of depth in a file.

    Attributes:
        units_per_metre: See `geometry.written_depth.depth_from_values`; None for relative depth.
        inverse: Whether larger values are nearer.
    """

    units_per_metre: float | None
    inverse: bool = False


@dataclass
class Tally:
    """Counts of invalid values in depth maps.

    Attributes:
        n_maps: Number of maps read.
        pixels: Number of pixels of each kind of invalid value.
        maps: Number of maps with such pixels, by kind.
        constant: Names of maps with the same value in all pixels.
        empty: Names of maps without valid depth.
        medians: Median depth of each map with valid depth.
    """

    n_maps: int = 0
    pixels: dict[str, int] = field(default_factory=dict)
    maps: dict[str, int] = field(default_factory=dict)
    constant: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)

    def lines(self, written: DepthEncoding) -> list[str]:
        """Return one line for each kind of invalid value and each warning."""
        far = written.inverse and written.units_per_metre is None
        lines = [
            f"{self.pixels[kind]} pixels in {self.maps[kind]} of {self.n_maps} maps are {kind}: "
            + ("taken for the far end" if far and kind in ("zero", "negative") else "unknown")
            for kind in self.pixels
        ]
        for names, what in ((self.constant, "hold one value everywhere"), (self.empty, "hold no depth at all")):
            if names:
                shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
                lines.append(
                    f"warning: {len(names)} of {self.n_maps} maps {what} and carry no information, such as {shown}"
                )
        if written.units_per_metre is not None and self.medians:
            median = float(np.median(self.medians))
            if not PLAUSIBLE_M[0] <= median <= PLAUSIBLE_M[1]:
                lines.append(
                    f"warning: the median depth is {median:.3g} m, which is implausible: check "
                    f"--unit {written.units_per_metre:g}, the number of file units per metre (1000 for millimetres)"
                )
        return lines


def depth_of_map(
    values: npt.NDArray[np.generic], written: DepthEncoding, *, size: tuple[int, int], name: str, tally: Tally
) -> npt.NDArray[np.float32]:
    """Return the depth of a map at a given size.

    Values are resized as written, before any inversion: by area averaging when downsampling and bilinear interpolation
    when upsampling. Unknown pixels do not mix with known ones.

    Args:
        values: ``(h, w)``, as read.
        written: Encoding of depth.
        size: Height and width of the result.
        name: Name of the image.
        tally: Collects counts of invalid values; modified in place.

    Returns:
        float32 of shape ``size``, metres or relative depth, 0 where unknown.
    """
    relative_inverse = written.inverse and written.units_per_metre is None
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    kinds = {
        "NaN": np.isnan(numbers),
        "infinite": np.isinf(numbers),
        "negative": np.isfinite(numbers) & (numbers < 0),
        "zero": numbers == 0,
    }
    if values.dtype == np.uint16 and written.units_per_metre is not None and not written.inverse:
        kinds["65535 (too far for 16 bits)"] = values == np.iinfo(np.uint16).max
    tally.n_maps += 1
    for kind, where in kinds.items():
        count = int(where.sum())
        if count > 0:
            tally.pixels[kind] = tally.pixels.get(kind, 0) + count
            tally.maps[kind] = tally.maps.get(kind, 0) + 1
    unknown = [where for kind, where in kinds.items() if not (relative_inverse and kind in ("negative", "zero"))]
    known = ~np.logical_or.reduce(unknown)
    numbers = np.where(known, numbers.clip(min=0), np.float32(0))
    if known.any() and numbers[known].min() == numbers[known].max():
        tally.constant.append(name)
    if numbers.shape != size:
        numbers, known = resize_known(numbers, known, size)
    batch = torch.from_numpy(np.where(known, numbers, np.float32(np.nan)))[None, None]
    depth: npt.NDArray[np.float32] = depth_from_values(
        batch, units_per_metre=written.units_per_metre, inverse=written.inverse
    )[0, 0].numpy()
    if (depth > 0).any():
        tally.medians.append(float(np.median(depth[depth > 0])))
    else:
        tally.empty.append(name)
    return depth
