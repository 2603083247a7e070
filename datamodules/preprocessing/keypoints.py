"""Selection of key points: pixels with a large gradient relative to their surroundings, spread over the image.

This is the pixel selector of DSO (Engel et al., "Direct Sparse Odometry", https://arxiv.org/abs/1607.02565, section
3.2), as P2Net and GAM-Depth use it for their key-point losses. It runs on the image before downsampling.

Every 32x32 block has a threshold: the median of its gradient magnitudes plus 7 grey levels per pixel, smoothed over the
neighbouring blocks. The image is divided into blocks of 4p pixels, these into blocks of 2p, and these into blocks of p.
Each block of p selects its pixel of largest gradient above the threshold. If none of four blocks has such a pixel,
their block of 2p selects one in the image at half resolution with a lower threshold, and likewise the block of 4p at
quarter resolution. If the number of points is far from the target, p is changed; a moderate excess is thinned at
random.

Deviation: thinning uses a table of numpy's generator, where the released selector uses ``rand`` of the C library. The
candidates and the share of kept points are equal, but not the kept points themselves.
"""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from datamodules.files.compiled import compiled
from datamodules.samples.colours import float_image
from datamodules.samples.frame import Frame, FrameSource

Values = npt.NDArray[np.float64]

WANTED_PER_PIXEL = 2000 / (640 * 480)
"""Target density of points per pixel in DSO, P2Net and GAM-Depth."""

TABLE_SEED = 3141592
"""Seed of the fixed table for thinning surplus points."""

BLOCK = 32
"""Side of the blocks with a common threshold, in pixels."""

LARGEST_LENGTH = 48
"""Gradient magnitudes are clipped to this value in the median of a block; grey levels per pixel."""

LENGTH_MARGIN = 7.0
"""Margin of the gradient magnitude above the median of its block; grey levels per pixel."""

LEVEL_FACTORS = (1.0, 0.75, 0.75**3)
"""Factors on the threshold of the squared magnitude at full, half and quarter resolution."""

START_POTENTIAL = 3
"""Initial side of the smallest blocks, in pixels."""

RETRIES = 3
"""Maximum number of changes of the side."""

TOO_FEW, TOO_MANY, ENOUGH = 1.25, 0.25, 0.95
"""Ratios of target to selected points: above the first or below the second, the side changes; below the last, points
are thinned."""

LARGEST_EXCESS = 1.25
"""Maximum number of returned points, as a multiple of the target."""

NEAR, FAR_X, FAR_Y = 4, 5, 3
"""Border without points: pixels at the left and top, at the right, and at the bottom. It is asymmetric as in the
released selector, which uses ``4 <= x < w - 5`` and ``4 <= y <= h - 4``."""


class KeypointSource:
    """Frames of a source with key points, selected in the image at the resolution of the source.

    Args:
        source: Source of the frames.
        wanted_per_pixel: Target density of points per pixel of the frame.
        seed: Seed of the table for thinning surplus points.

    Raises:
        ValueError: If ``wanted_per_pixel`` is not positive.
    """

    def __init__(self, source: FrameSource, wanted_per_pixel: float = WANTED_PER_PIXEL, seed: int = TABLE_SEED) -> None:
        if not wanted_per_pixel > 0:
            raise ValueError(f"wanted_per_pixel is a positive density of key points, got {wanted_per_pixel}.")
        self.source = source
        self.wanted_per_pixel = wanted_per_pixel
        self.seed = seed

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.source)

    def read(self, index: int) -> Frame:
        """Return a frame with its key points."""
        frame = self.source.read(index)
        grey = grey_levels(frame)
        wanted = max(1, round(self.wanted_per_pixel * grey.size))
        return replace(frame, keypoints=select_keypoints(grey, wanted=wanted, seed=self.seed))


def grey_levels(frame: Frame) -> Values:
    """Return the luma of a frame's image, ``(H, W)``, in 8-bit grey levels."""
    colours: Values = 255.0 * float_image(frame.image).astype(np.float64)
    return colours @ np.array([0.299, 0.587, 0.114])


def select_keypoints(
    grey: npt.NDArray[np.floating],
    *,
    wanted: int,
    potential: int = START_POTENTIAL,
    seed: int = TABLE_SEED,
) -> npt.NDArray[np.float32]:
    """Return the key points of an image.

    Args:
        grey: ``(H, W)``, 8-bit grey levels, the unit of the thresholds.
        wanted: Target number of points; an image with little texture has fewer, possibly none.
        potential: Initial side of the smallest blocks, in pixels.
        seed: Seed of the table for thinning surplus points.

    Returns:
        float32 ``(P, 2)``, x and y of the centres of the selected pixels (corner convention), row by row; ``P`` is at
        most 1.25 ``wanted``.

    Raises:
        ValueError: If ``grey`` is no image, or ``wanted`` or ``potential`` is below 1.
    """
    if grey.ndim != 2:
        raise ValueError(f"Key points are selected in a grey image (H, W), got an array of shape {grey.shape}.")
    if wanted < 1 or potential < 1:
        raise ValueError(f"wanted ({wanted}) and potential ({potential}) have to be at least 1.")
    levels = [np.ascontiguousarray(grey, dtype=np.float64)]
    for _ in LEVEL_FACTORS[1:]:
        levels.append(_halve(levels[-1]))
    squares = [_squared_gradient(level) for level in levels]
    thresholds = _thresholds(squares[0])
    factors = np.array(LEVEL_FACTORS)
    retries = RETRIES
    while True:
        rows, columns = np.nonzero(_select(squares[0], squares[1], squares[2], thresholds, factors, potential))
        ratio = wanted / len(rows) if len(rows) else math.inf
        if retries == 0 or not ((ratio > TOO_FEW and potential > 1) or ratio < TOO_MANY):
            break
        potential = max(1, math.floor(math.sqrt(len(rows) * (potential + 1) ** 2 / wanted) - 1))
        retries -= 1
    points = np.stack([columns + 0.5, rows + 0.5], axis=1).astype(np.float32)
    if ratio < ENOUGH:
        table = np.random.default_rng(seed).integers(0, 256, size=len(points))
        points = points[table <= 255 * ratio]
    return points[: max(1, int(LARGEST_EXCESS * wanted))]


def _halve(image: Values) -> Values:
    """Return the means of 2x2 pixels; an odd last row or column is dropped."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    halved: Values = image[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean(axis=(1, 3))
    return halved


def _squared_gradient(image: Values) -> Values:
    """Return the squared magnitude of the central differences; 0 in the outermost pixels."""
    squares = np.zeros_like(image)
    if min(image.shape) > 2:
        dx = 0.5 * (image[1:-1, 2:] - image[1:-1, :-2])
        dy = 0.5 * (image[2:, 1:-1] - image[:-2, 1:-1])
        squares[1:-1, 1:-1] = dx**2 + dy**2
    return squares


@compiled
def _thresholds(squares: Values) -> Values:
    """Return the threshold of the squared gradient of each block; the last blocks of a row or column may be smaller."""
    height, width = squares.shape
    n_rows, n_columns = (height + BLOCK - 1) // BLOCK, (width + BLOCK - 1) // BLOCK
    lengths = np.zeros((n_rows, n_columns))
    for row in range(n_rows):
        for column in range(n_columns):
            counts = np.zeros(LARGEST_LENGTH + 1, np.int64)
            for y in range(max(1, row * BLOCK), min(height - 1, (row + 1) * BLOCK)):
                for x in range(max(1, column * BLOCK), min(width - 1, (column + 1) * BLOCK)):
                    counts[int(min(math.sqrt(squares[y, x]), LARGEST_LENGTH))] += 1
            total, below, median = counts.sum(), 0, 0
            for length in range(LARGEST_LENGTH + 1):
                below += counts[length]
                if 2 * below > total:
                    median = length
                    break
            lengths[row, column] = median + LENGTH_MARGIN
    smooth = np.empty_like(lengths)
    for row in range(n_rows):
        for column in range(n_columns):
            patch = lengths[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            smooth[row, column] = patch.mean() ** 2
    return smooth


@compiled
def _select(
    full: Values, half: Values, quarter: Values, thresholds: Values, factors: Values, side: int
) -> npt.NDArray[np.bool_]:
    """Return the mask of selected pixels from squared gradients at three resolutions; ties go to block order."""
    height, width = full.shape
    chosen = np.zeros((height, width), np.bool_)
    bottom, right = height - FAR_Y, width - FAR_X
    for y4 in range(0, height, 4 * side):
        for x4 in range(0, width, 4 * side):
            found4, best4, row4, column4 = False, 0.0, -1, -1
            for y2 in range(y4, min(y4 + 4 * side, height), 2 * side):
                for x2 in range(x4, min(x4 + 4 * side, width), 2 * side):
                    found2, best2, row2, column2 = False, 0.0, -1, -1
                    for y1 in range(y2, min(y2 + 2 * side, height), side):
                        for x1 in range(x2, min(x2 + 2 * side, width), side):
                            best, row, column = 0.0, -1, -1
                            for y in range(max(y1, NEAR), min(y1 + side, bottom)):
                                for x in range(max(x1, NEAR), min(x1 + side, right)):
                                    threshold = thresholds[y // BLOCK, x // BLOCK]
                                    value = full[y, x]
                                    if value > factors[0] * threshold and value > best:
                                        best, row, column = value, y, x
                                    value = half[y // 2, x // 2]
                                    if value > factors[1] * threshold and value > best2:
                                        best2, row2, column2 = value, y, x
                                    value = quarter[y // 4, x // 4]
                                    if value > factors[2] * threshold and value > best4:
                                        best4, row4, column4 = value, y, x
                            if row >= 0:
                                chosen[row, column] = True
                                found2 = True
                    if not found2 and row2 >= 0:
                        chosen[row2, column2] = True
                        found2 = True
                    found4 = found4 or found2
            if not found4 and row4 >= 0:
                chosen[row4, column4] = True
    return chosen
