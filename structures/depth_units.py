"""Plausibility check of depth in metres: median, fraction outside the range, and the probable unit."""

from typing import NamedTuple

from torch import Tensor

IMPOSSIBLE_M = (0.01, 500.0)
"""Smallest and largest plausible median of the measured depth of a scene, metres."""

PLAUSIBLE_M = (0.1, 200.0)
"""Default range of depth, metres."""

MOST_OUTSIDE = 0.2
"""Fraction of the measured pixels outside the range that causes a warning."""

SENTINEL_SHARE = 0.01
"""Fraction of the measured pixels at exactly the largest depth from which that may be a fill value."""

SENTINEL_GAP = 0.75
"""The warning needs all other depth to be at most this fraction of it: a distant wall is not a fill value."""

UNITS = {1000.0: "millimetres", 256.0: "1/256 m, KITTI's", 5000.0: "1/5000 m, TUM's", 100.0: "centimetres"}
"""Usual file units per metre."""

USUAL_MEDIANS_M = (0.3, 60.0)
"""Range of medians for which a unit is probable, metres."""

SETTING = "set the manifest's column depth_scale or data.init_args.file_units_per_metre (video: depth_units_per_metre)"


class DepthSummary(NamedTuple):
    """Statistics of the measured pixels of some images."""

    median_m: float
    """Median, metres."""
    outside: float
    """Fraction outside the range, 0 to 1."""
    near_m: float
    """Lower end of the range, metres."""
    far_m: float
    """Upper end of the range, metres."""
    largest_m: float
    """Largest depth, metres."""
    at_largest: float
    """Fraction at exactly the largest depth, 0 to 1."""
    next_m: float
    """Second largest depth, metres; 0 if there is none."""


def summarise(
    depth: Tensor, mask: Tensor, *, near_m: float = PLAUSIBLE_M[0], far_m: float = PLAUSIBLE_M[1]
) -> DepthSummary | None:
    """Statistics of measured depth.

    Args:
        depth: Any shape, metres.
        mask: Bool of the same shape, True where depth was measured.
        near_m: Lower end of the range that counts, metres.
        far_m: Upper end of the range that counts, metres.

    Returns:
        None where nothing was measured.
    """
    measured = depth[mask].float()
    if measured.numel() == 0:
        return None
    outside = ((measured < near_m) | (measured > far_m)).float().mean()
    largest = measured.max()
    rest = measured[measured < largest]
    return DepthSummary(
        median_m=float(measured.median()),
        outside=float(outside),
        near_m=near_m,
        far_m=far_m,
        largest_m=float(largest),
        at_largest=1 - rest.numel() / measured.numel(),
        next_m=float(rest.max()) if rest.numel() > 0 and rest.min() < rest.max() else 0.0,
    )


def why_impossible(summary: DepthSummary) -> str | None:
    """Return why measured depth cannot be in metres, with the likely unit and the setting to change, or None."""
    if IMPOSSIBLE_M[0] <= summary.median_m <= IMPOSSIBLE_M[1]:
        return None
    return f"the median of the measured depth is {summary.median_m:.4g} m, which no scene has: {_likely_unit(summary)}"


def why_doubtful(summary: DepthSummary) -> str | None:
    """Return a warning about unusual values of measured depth that may be in metres, or None."""
    if summary.at_largest >= SENTINEL_SHARE and 0 < summary.next_m <= SENTINEL_GAP * summary.largest_m:
        return (
            f"{summary.at_largest:.0%} of the measured depth are exactly {summary.largest_m:.5g} m, and all other is "
            f"at most {summary.next_m:.4g} m: does that value mean too far or unknown? Then write 0 in its place; as "
            "it is, it counts as a measurement"
        )
    if summary.outside <= MOST_OUTSIDE:
        return None
    return (
        f"{summary.outside:.0%} of the measured depth lie outside {summary.near_m:g} to {summary.far_m:g} m (its "
        f"median is {summary.median_m:.4g} m) and do not count in scores: set min_depth_m and "
        f"max_depth_m of model.init_args.evaluation if they should; if they cannot be right, {_likely_unit(summary)}"
    )


def _likely_unit(summary: DepthSummary) -> str:
    larger = summary.median_m > 1
    medians = {unit: summary.median_m / unit if larger else summary.median_m * unit for unit in UNITS}
    likely = [unit for unit, median in medians.items() if USUAL_MEDIANS_M[0] <= median <= USUAL_MEDIANS_M[1]]
    if not likely:
        return f"the unit of the files differs from the setting; {SETTING}"
    how = "times as many" if larger else "times fewer"
    candidates = ", ".join(
        f"{unit:g} {how} give {medians[unit]:.3g} m{f' ({UNITS[unit]})' if larger else ''}" for unit in likely
    )
    return f"the number of file units per metre is wrong ({candidates}); {SETTING}"
