"""Depth from the sigmoid output of a disparity network."""

from torch import Tensor

from geometry.stencils import at_least_float32


def depth_from_disparity(sigmoid: Tensor, *, min_depth_m: float = 0.1, max_depth_m: float = 10.0) -> Tensor:
    """``1 / (1 / max + (1 / min - 1 / max) s)``: disparity is linear in the network's output (Monodepth2, 2019).

    Args:
        sigmoid: ``(B, 1, H, W)`` in [0, 1]; 0 is the far end.
        min_depth_m: depth of an output of 1, metres; the default is that of GAM-Depth for rooms.
        max_depth_m: depth of an output of 0, metres.

    Returns:
        The shape of ``sigmoid`` in at least float32, metres between the two ends.

    Raises:
        ValueError: if not ``0 < min_depth_m < max_depth_m``.
    """
    if not 0 < min_depth_m < max_depth_m:
        raise ValueError(
            f"The depths are {min_depth_m} and {max_depth_m} m, but the first must be positive and below the second."
        )
    nearest, farthest = 1 / min_depth_m, 1 / max_depth_m
    return (farthest + (nearest - farthest) * at_least_float32(sigmoid)).reciprocal()
