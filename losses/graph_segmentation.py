"""Graph-based segmentation of the pixel grid (Felzenszwalb & Huttenlocher 2004) from given costs between neighbours.

Compiled with numba: merging is a sequential loop over sorted edges, which tensor operations cannot express. No gradient
flows through it.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Costs = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

SCALE_UNIT = 255.0
"""The constant ``k`` of the paper is ``scale / SCALE_UNIT``: costs lie in [0, 1], as in scikit-image."""

_DIGIT_BITS = 11
_DIGITS = 1 << _DIGIT_BITS
_PASSES = 3
"""Three digits of 11 bits hold the 32 bits of a float."""


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``numba.njit`` with its machine code cached on disk, or only in memory where no folder is writable."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)


@_compiled
def _sorted_edges(costs: npt.NDArray[np.uint32]) -> npt.NDArray[np.int32]:
    """Stable order of the edges by cost: radix sort of the bits, which are ordered like the floats from 0 up."""
    n = costs.size
    order = np.arange(n).astype(np.int32)
    other = np.empty(n, np.int32)
    for digit in range(_PASSES):
        shift = np.uint32(digit * _DIGIT_BITS)
        starts = np.zeros(_DIGITS + 1, np.int64)
        for i in range(n):
            starts[((costs[i] >> shift) & np.uint32(_DIGITS - 1)) + 1] += 1
        for value in range(_DIGITS):
            starts[value + 1] += starts[value]
        for i in range(n):
            edge = order[i]
            value = (costs[edge] >> shift) & np.uint32(_DIGITS - 1)
            other[starts[value]] = edge
            starts[value] += 1
        order, other = other, order
    return order


@_compiled
def _root(parents: npt.NDArray[np.int32], pixel: int) -> int:
    while parents[pixel] != pixel:
        parents[pixel] = parents[parents[pixel]]
        pixel = parents[pixel]
    return pixel


@_compiled
def _segment(
    cost_down: Costs, cost_right: Costs, valid: npt.NDArray[np.bool_], k: float, min_size: int, labels: Labels
) -> None:
    """Write the segments of one image into ``labels``, which holds zeros."""
    height, width = valid.shape
    first = np.empty(2 * height * width, np.int32)
    second = np.empty(2 * height * width, np.int32)
    costs = np.empty(2 * height * width, np.float32)
    n = 0
    for y in range(height):
        for x in range(width):
            if not valid[y, x]:
                continue
            pixel = y * width + x
            # An edge that meets an invalid pixel, or whose cost is not finite, is no edge.
            if y + 1 < height and valid[y + 1, x] and np.isfinite(cost_down[y, x]):
                first[n], second[n], costs[n] = pixel, pixel + width, cost_down[y, x]
                n += 1
            if x + 1 < width and valid[y, x + 1] and np.isfinite(cost_right[y, x]):
                first[n], second[n], costs[n] = pixel, pixel + 1, cost_right[y, x]
                n += 1
    costs = costs[:n] + np.float32(0.0)  # -0.0 would sort behind everything
    order = _sorted_edges(costs.view(np.uint32))

    parents = np.arange(height * width).astype(np.int32)
    sizes = np.ones(height * width, np.int32)
    limits = np.full(height * width, k)  # Int(segment) + k / |segment|
    for edge in order:
        a, b = _root(parents, first[edge]), _root(parents, second[edge])
        cost = np.float64(costs[edge])
        if a != b and cost < min(limits[a], limits[b]):
            if sizes[a] < sizes[b]:
                a, b = b, a
            parents[b] = a
            sizes[a] += sizes[b]
            limits[a] = cost + k / sizes[a]  # edges are sorted, so this one is the largest inside
    for edge in order:
        a, b = _root(parents, first[edge]), _root(parents, second[edge])
        if a != b and (sizes[a] < min_size or sizes[b] < min_size):
            if sizes[a] < sizes[b]:
                a, b = b, a
            parents[b] = a
            sizes[a] += sizes[b]

    numbers = np.zeros(height * width, np.int64)
    count = 0
    for y in range(height):
        for x in range(width):
            if valid[y, x]:
                root = _root(parents, y * width + x)
                if numbers[root] == 0:
                    count += 1
                    numbers[root] = count
                labels[y, x] = numbers[root]


def segment_grid(
    cost_down: Costs,
    cost_right: Costs,
    *,
    valid: npt.NDArray[np.bool_] | None = None,
    scale: float = 1.0,
    min_size: int = 50,
    threads: int = 1,
) -> Labels:
    """Segment images whose 4-connected neighbours have the given costs (Felzenszwalb & Huttenlocher 2004, section 4).

    Edges are visited in order of increasing cost, equal ones in raster order (down before right). Two segments merge if
    the cost is below ``min(Int(a) + k / |a|, Int(b) + k / |b|)``, where ``Int`` is the largest cost inside a segment,
    ``|a|`` its number of pixels and ``k = scale / 255``. A second pass merges across every edge of a segment with fewer
    than ``min_size`` pixels.

    Args:
        cost_down: float32 ``(B, H - 1, W)``, at least 0, between a pixel and the one below. A NaN or infinite cost
            means that there is no edge.
        cost_right: float32 ``(B, H, W - 1)``, between a pixel and its right neighbour.
        valid: bool ``(B, H, W)``, or None for all; invalid pixels belong to no segment and have no edges.
        scale: larger values give larger segments. As ``k`` is divided by pixels, it has to grow with the image's area
            for the same segments at another resolution.
        min_size: pixels; smaller segments remain only where no edge leaves them.
        threads: number of threads that process images; the result does not depend on it.

    Returns:
        int64 ``(B, H, W)``: segments 1 to S of each image in the order of their first pixels, 0 where not valid.

    Raises:
        ValueError: if shapes do not fit, a cost is negative, or a number is out of range.
    """
    if cost_down.ndim != 3 or cost_right.ndim != 3:
        raise ValueError(
            f"The costs have the shapes {cost_down.shape} and {cost_right.shape}, but (B, H - 1, W) and (B, H, W - 1) "
            "are needed."
        )
    batch, height, width = len(cost_right), cost_right.shape[1], cost_down.shape[2]
    if cost_down.shape != (batch, height - 1, width) or cost_right.shape != (batch, height, width - 1):
        raise ValueError(
            f"The costs have the shapes {cost_down.shape} and {cost_right.shape}, but (B, H - 1, W) and (B, H, W - 1) "
            "are needed."
        )
    if valid is None:
        valid = np.ones((batch, height, width), np.bool_)
    if valid.shape != (batch, height, width) or valid.dtype != np.bool_:
        raise ValueError(f"valid is {valid.dtype} {valid.shape}, but bool {(batch, height, width)} is needed.")
    if scale < 0 or min_size < 0 or threads < 1:
        raise ValueError(
            f"scale is {scale}, min_size {min_size} and threads {threads}, but the first two must not be negative and "
            "the last at least 1."
        )
    down, right = (np.ascontiguousarray(cost, dtype=np.float32) for cost in (cost_down, cost_right))
    if (down < 0).any() or (right < 0).any():
        raise ValueError("A cost between neighbours is negative, but all must be at least 0.")
    labels = np.zeros((batch, height, width), np.int64)
    contiguous = np.ascontiguousarray(valid)

    def one(image: int) -> None:
        _segment(down[image], right[image], contiguous[image], scale / SCALE_UNIT, min_size, labels[image])

    if min(threads, batch) == 1:
        for image in range(batch):
            one(image)
    else:
        with ThreadPoolExecutor(min(threads, batch)) as pool:
            list(pool.map(one, range(batch)))
    return labels
