"""Depth out of the numbers of a written map, at a wanted size, with a count of what was no depth."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from datamodules.samples.instance_transforms import resize_known
from geometry.written_depth import depth_from_values

PLAUSIBLE_M = (0.05, 300.0)
"""A median of depth outside of this is hardly one of metres."""

_SHOWN = 3


@dataclass(frozen=True)
class WrittenAs:
    """How the numbers of maps stand for depth.

    Attributes:
        units_per_metre: See `geometry.written_depth.depth_from_values`; None for relative depth.
        inverse: Whether larger is nearer.
    """

    units_per_metre: float | None
    inverse: bool = False


@dataclass
class Tally:
    """What was found in maps besides depth.

    Attributes:
        n_maps: Maps that were looked at.
        pixels: Number of pixels of each kind that is no depth.
        maps: Number of maps that have such pixels.
        constant: Names of maps that hold one value everywhere.
        empty: Names of maps without any depth.
        medians: Median depth of each map that has any.
    """

    n_maps: int = 0
    pixels: dict[str, int] = field(default_factory=dict)
    maps: dict[str, int] = field(default_factory=dict)
    constant: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)

    def lines(self, written: WrittenAs) -> list[str]:
        """A line for each thing that a user should know."""
        far = written.inverse and written.units_per_metre is None
        said = [
            f"{self.pixels[kind]} pixels in {self.maps[kind]} of {self.n_maps} maps are {kind}: "
            + ("taken for the far end" if far and kind in ("zero", "negative") else "unknown")
            for kind in self.pixels
        ]
        for names, what in ((self.constant, "hold one value everywhere"), (self.empty, "hold no depth at all")):
            if names:
                shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
                said.append(f"warning: {len(names)} of {self.n_maps} maps {what} and tell nothing, such as {shown}")
        if written.units_per_metre is not None and self.medians:
            median = float(np.median(self.medians))
            if not PLAUSIBLE_M[0] <= median <= PLAUSIBLE_M[1]:
                said.append(
                    f"warning: the median depth is {median:.3g} m, which is hardly right: "
                    f"--unit {written.units_per_metre:g} says how many units make a metre (1000 for millimetres)"
                )
        return said


def depth_of_map(
    values: npt.NDArray[np.generic], written: WrittenAs, *, size: tuple[int, int], name: str, tally: Tally
) -> npt.NDArray[np.float32]:
    """Depth of a map, resized.

    The numbers are resized as they are written, before they are inverted: averages of areas where the map shrinks,
    linear in between where it grows, and what is unknown does not run into what is known.

    Args:
        values: ``(h, w)``, as read.
        written: How they stand for depth.
        size: Height and width of the result.
        name: Of the image.
        tally: Counts what is no depth.

    Returns:
        float32 ``size``, metres or relative depth, 0 where unknown.
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
