"""Gains, noise and motion blur from pairs of neighbouring frames of a video.

Neighbouring frames are matched by dense optical flow. Gains and noise are measured on smooth, well exposed pixels that
flow matches both ways, blur on strong edges. All are medians, or means of middle halves, over many pixels, so moving
objects, highlights and wrong matches have little effect.
"""

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.samples.camera import to_linear

Floats = npt.NDArray[np.float32]

LAGS = (1, 2, 4, 8, 16)
"""Numbers of frames over which changes are measured."""
WELL_EXPOSED = (0.08, 0.92)
"""Display values of pixels that count for gains and noise."""
CONSISTENT_PX = 0.5
"""Largest distance between a pixel and where flow there and back ends."""
SMOOTH = 0.02
"""Largest gradient of the blurred display values, per pixel, of a pixel in a smooth region."""
FEWEST = 200
"""Fewest pixels for the gains of a pair, a tenth of those for a level of noise; fewest edges."""
NOISE_BINS = np.linspace(0.0, 0.7, 15)
MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
EDGE_CONTRAST = 0.08
"""Smallest gradient of display values per pixel at an edge."""
PROFILE_PX = 8
"""Half the length of the profile of an edge."""
WIDTH_BINS = 8


@dataclass(frozen=True)
class Pair:
    """Two neighbouring frames in linear light, the second warped onto the first.

    Attributes:
        first: ``(H, W, 3)``.
        second: ``(H, W, 3)``.
        flow: ``(H, W, 2)``, pixels from the first to the second.
        weight: ``(H, W)``, sum of the squared weights of the bilinear interpolation of ``second``.
        usable: ``(H, W)``, smooth, well exposed, and matched both ways.
        grey: ``(H, W)``, display values of the first frame.
    """

    first: Floats
    second: Floats
    flow: Floats
    weight: Floats
    usable: npt.NDArray[np.bool_]
    grey: Floats


def match(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> Pair:
    """Match two RGB images, uint8 ``(H, W, 3)``."""
    greys = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (first, second)]
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow, back = (
        np.asarray(method.calc(a, b, None), dtype=np.float32)  # type: ignore[call-overload]  # its stub lacks None
        for a, b in (greys, greys[::-1])
    )
    height, width = greys[0].shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    there_x, there_y = x + flow[..., 0], y + flow[..., 1]
    returned = cv2.remap(back, there_x, there_y, cv2.INTER_LINEAR)
    inside = (there_x >= 0) & (there_x <= width - 1) & (there_y >= 0) & (there_y <= height - 1)
    consistent = np.hypot(*np.moveaxis(flow + returned, -1, 0)) < CONSISTENT_PX
    light = [to_linear(image / np.float32(255)) for image in (first, second)]
    warped = np.asarray(cv2.remap(light[1], there_x, there_y, cv2.INTER_LINEAR), dtype=np.float32)
    exposed = np.ones((height, width), dtype=np.bool_)
    for image in (first, second):
        display = image / np.float32(255)
        good = ((display > WELL_EXPOSED[0]) & (display < WELL_EXPOSED[1])).all(axis=-1)
        if image is second:
            good = cv2.remap(np.asarray(good, dtype=np.float32), there_x, there_y, cv2.INTER_LINEAR) > 0.99
        exposed &= good
    blurred = cv2.GaussianBlur(greys[0].astype(np.float32) / 255, (0, 0), 2.0)
    gradient = np.hypot(np.gradient(blurred, axis=1), np.gradient(blurred, axis=0))
    fraction_x, fraction_y = there_x - np.floor(there_x), there_y - np.floor(there_y)
    weight = (fraction_x**2 + (1 - fraction_x) ** 2) * (fraction_y**2 + (1 - fraction_y) ** 2)
    usable = inside & consistent & exposed & (gradient < SMOOTH)
    return Pair(light[0], warped, flow, weight, usable, np.float32(1 / 255) * greys[0].astype(np.float32))


def log_gains(pair: Pair) -> npt.NDArray[np.float64] | None:
    """Return the gains of red, green and blue from the first frame to the second, in stops; None if few pixels match.

    A gain is the mean of the middle half of the logarithms, as a median would be one of the few ratios of 8-bit values.
    """
    if np.count_nonzero(pair.usable) < FEWEST:
        return None
    ratios = np.sort(np.log2(pair.second[pair.usable] / pair.first[pair.usable]), axis=0)
    quarter = len(ratios) // 4
    return np.asarray(ratios[quarter : len(ratios) - quarter].mean(axis=0), dtype=np.float64)


def rms_changes(steps: npt.NDArray[np.float64]) -> list[float]:
    """Return the root mean square of the changes of a series over each of :data:`LAGS`, without the largest 1 %.

    Exposure rests and then moves, so a median would be that of the rests.

    Args:
        steps: Changes from frame to frame; NaN where there is none.
    """
    result = []
    for lag in LAGS:
        sums = np.convolve(steps, np.ones(lag), mode="valid") if len(steps) >= lag else np.zeros(0)
        sums = sums[np.isfinite(sums)]
        kept = np.sort(np.abs(sums))[: math.ceil(0.99 * len(sums))]
        result.append(math.sqrt(float(np.mean(kept**2))) if len(sums) else math.nan)
    return result


def noise_samples(pair: Pair) -> tuple[Floats, Floats]:
    """Return intensity and deviation, scaled to the variance of one frame, of each colour of usable pixels.

    The mean difference of each neighbourhood (changes of light, errors of the flow) is removed.
    """
    difference = pair.second - pair.first
    mask = pair.usable.astype(np.float32)
    size = (9, 9)
    count = cv2.blur(mask, size)
    local = cv2.blur(difference * mask[..., None], size) / np.maximum(count, 1e-6)[..., None]
    enough = pair.usable & (count > 0.5)
    intensity = np.asarray(cv2.blur(pair.first, (5, 5)), dtype=np.float32)[enough]
    deviation = (difference - local)[enough] / np.sqrt(1 + pair.weight[enough])[:, None]
    shrink = 1 - 1 / (count[enough] * size[0] * size[1])  # the mean holds the pixel itself
    return intensity.ravel(), (deviation / np.sqrt(shrink)[:, None]).astype(np.float32).ravel()


def fit_noise(intensity: Floats, deviation: Floats) -> tuple[list[tuple[float, float, int]], float, float]:
    """Fit ``variance = read**2 + shot * intensity`` to robust variances of bins of intensity.

    Args:
        intensity: Linear light.
        deviation: Deviation from the mean, of the same shape.

    Returns:
        Centre, standard deviation and number of pixels of every bin, the shot noise, and the read noise.

    Raises:
        ValueError: If fewer than two bins have enough pixels.
    """
    bins = []
    for low, high in itertools.pairwise(NOISE_BINS):
        chosen = deviation[(intensity >= low) & (intensity < high)]
        if len(chosen) >= 10 * FEWEST:
            bins.append((float(low + high) / 2, MAD * float(np.median(np.abs(chosen))), len(chosen)))
    if len(bins) < 2:
        raise ValueError("Fewer than two levels of intensity have enough smooth pixels: more frames are needed.")
    centre, sigma = np.array([b[0] for b in bins]), np.array([b[1] for b in bins])
    scale = 1 / np.maximum(sigma, 1e-6) ** 2  # relative errors of a variance are alike
    design = np.stack([np.ones_like(centre), centre], axis=1)
    best = np.linalg.lstsq(design * scale[:, None], sigma**2 * scale, rcond=None)[0]
    if best[0] < 0:  # no read noise below zero
        best = np.array([0.0, float((scale**2 * centre * sigma**2).sum() / (scale**2 * centre**2).sum())])
    if best[1] < 0:
        best = np.array([float((scale**2 * sigma**2).sum() / (scale**2).sum()), 0.0])
    return bins, float(best[1]), math.sqrt(float(best[0]))


def edge_widths(pair: Pair, *, most: int = 400) -> tuple[Floats, Floats]:
    """Return the squared motion across strong edges, and their squared widths (variance of the derivative), in pixels.

    Args:
        pair: The frames; edges are those of the first.
        most: Largest number of edges.
    """
    grey = pair.grey
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8)
    size = np.hypot(dx, dy)
    height, width = grey.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    along_x, along_y = dx / np.maximum(size, 1e-6), dy / np.maximum(size, 1e-6)
    before, after = (
        cv2.remap(size, x + side * along_x, y + side * along_y, cv2.INTER_LINEAR)
        for side in (np.float32(-1), np.float32(1))
    )
    # Largest across the edge, not along it: a moving outline is least blurred where it is parallel to the motion.
    peak = (size > EDGE_CONTRAST) & (size >= before) & (size >= after)
    reach = PROFILE_PX + 1
    peak[:reach], peak[-reach:], peak[:, :reach], peak[:, -reach:] = False, False, False, False
    rows, columns = np.nonzero(peak)
    if not len(rows):
        return np.zeros(0, np.float32), np.zeros(0, np.float32)
    if len(rows) > most:
        chosen = np.linspace(0, len(rows) - 1, most).astype(np.intp)  # the strongest would be the least blurred
        rows, columns = rows[chosen], columns[chosen]
    normal = np.stack([along_x[rows, columns], along_y[rows, columns]], axis=1)
    t = np.arange(-PROFILE_PX, PROFILE_PX + 0.25, 0.5, dtype=np.float32)
    where_x = (columns[:, None] + t * normal[:, :1]).astype(np.float32)
    where_y = (rows[:, None] + t * normal[:, 1:]).astype(np.float32)
    profile = cv2.remap(grey, where_x, where_y, cv2.INTER_LINEAR)
    slope = np.diff(profile, axis=1)
    place = (t[:-1] + t[1:]) / 2
    middle = np.abs(place).argsort()[:4]
    top = slope[:, middle].max(axis=1)
    # The edge reaches as far as the profile rises steadily.
    rising = slope > 0.1 * top[:, None]
    right, left = place > 0, place < 0
    kept = np.zeros_like(rising)
    kept[:, right] = np.logical_and.accumulate(rising[:, right], axis=1)
    kept[:, left] = np.logical_and.accumulate(rising[:, left][:, ::-1], axis=1)[:, ::-1]
    weight = np.where(kept, slope, 0)
    total = weight.sum(axis=1)
    alone = (total > 0) & ~kept[:, 0] & ~kept[:, -1]
    weight, total = weight[alone], total[alone]
    mean = (weight * place).sum(axis=1) / total
    spread = (weight * (place - mean[:, None]) ** 2).sum(axis=1) / total
    across = (pair.flow[rows, columns] * normal).sum(axis=1)[alone] ** 2
    return across.astype(np.float32), spread.astype(np.float32)


def fit_shutter(across: Floats, width: Floats) -> tuple[float, float]:
    """Fit ``width = sharp**2 + shutter**2 / 12 * across`` to medians of bins with equally many edges.

    Args:
        across: Squared motion across the edges, in pixels squared.
        width: Squared widths; a uniform blur of length b adds b**2 / 12.

    Returns:
        The shutter as a fraction of the time between frames, and the width of a resting edge in pixels.

    Raises:
        ValueError: If there are fewer than 200 edges.
    """
    if len(across) < FEWEST:
        raise ValueError(f"Only {len(across)} edges were found, but {FEWEST} are needed: more frames are needed.")
    order = np.argsort(across)
    parts = np.array_split(order, WIDTH_BINS)
    x = np.array([np.median(across[part]) for part in parts])
    y = np.array([np.median(width[part]) for part in parts])
    slope, offset = np.polyfit(x, y, 1)
    return math.sqrt(12 * max(float(slope), 0.0)), math.sqrt(max(float(offset), 0.0))
