"""Estimation of the vanishing directions of one image, the orthogonal frame of a Manhattan world, from line segments.

After Lu et al., "2-Line Exhaustive Searching for Real-Time Vanishing Point Estimation in Manhattan World", WACV 2017: a
hypothesis is a vanishing point of two lines and a rotation about it, scored by votes on a grid over the hemisphere.

Deviations: the paper returns the hypothesis with the most votes, on a grid of one degree. Here votes only select
candidates. The candidates are scored on the lines, the best are refined by least squares, and an image has no result if
a clearly different frame explains the lines nearly as well.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LSD_TO_CORNER = 0.625
"""Offset from the coordinates of OpenCV's detector to corner coordinates, in both axes. The detector works on the image
scaled by 0.8, whose pixel ``i`` has the corner coordinate ``(i + 0.5) / 0.8`` in the original. It computes gradients
between the pixels ``i`` and ``i + 1``, hence at ``(i + 1) / 0.8``, but reports ``(i + 0.5) / 0.8``."""

GRID_DEGREES = 1.0
"""Cell size of the voting grid in latitude and longitude, and step of the rotations."""

MISSED_HYPOTHESES = 1e-4
"""Accepted probability that no sampled pair of lines shares a Manhattan direction (Lu et al., section 3.1)."""
INLIER_PAIRS = 1 / 12
"""Assumed share of pairs with a common direction: half of the lines are inliers of three directions."""

MAX_PAIR_DEGREES = 60.0
"""Pairs of lines with a larger angle in the image do not vote."""

TURNS_KEPT = 20
"""Number of rotations about one vanishing point, those with the most votes, that are scored on the lines."""
REFINED = 20
"""Number of candidates that are refined."""


@dataclass(frozen=True)
class VanishingSettings:
    """Constants of the search.

    Attributes:
        min_length: Minimum segment length in image widths; the paper's 60 pixels of 384.
        max_segments: Maximum number of segments, the longest; the number of pairs grows with its square.
        seed: Seed of the sampled pairs, equal for every image, so that the result depends on the image alone.
        inlier_degrees: Largest angle between the plane of a segment and the direction that it supports.
        min_support: Minimum number of segments for each of two of the three directions.
        rival_degrees: Rotation above which two frames count as different.
        max_rival: Largest score of a different frame relative to the best; above it there is no result.
    """

    min_length: float = 60 / 384
    max_segments: int = 150
    seed: int = 2020
    inlier_degrees: float = 2.0
    min_support: int = 2
    rival_degrees: float = 8.0
    max_rival: float = 0.9


def find_segments(image: npt.NDArray[Any], *, min_length_px: float) -> Array:
    """Return the line segments of an image, detected by OpenCV's LSD (Grompone von Gioi et al. 2010).

    Args:
        image: ``(H, W, 3)`` RGB or ``(H, W)`` grey, uint8 or float in [0, 1].
        min_length_px: Minimum length in pixels.

    Returns:
        float64 ``(N, 4)``: x, y of the first end and x, y of the second, corner convention, the longest first.
    """
    values = image.astype(np.uint8) if image.dtype == np.uint8 else np.rint(image.clip(0, 1) * 255).astype(np.uint8)
    grey = cv2.cvtColor(values, cv2.COLOR_RGB2GRAY) if values.ndim == 3 else np.ascontiguousarray(values)
    found = cv2.createLineSegmentDetector().detect(grey)[0]
    if found is None:
        return np.zeros((0, 4))
    segments = found.reshape(-1, 4).astype(np.float64) + LSD_TO_CORNER
    lengths = _lengths(segments)
    order = np.argsort(-lengths, kind="stable")
    return segments[order[lengths[order] >= min_length_px]]


def _lengths(segments: Array) -> Array:
    return np.hypot(segments[:, 2] - segments[:, 0], segments[:, 3] - segments[:, 1])


def _unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _planes(segments: Array, K: Array) -> Array:
    """Return the unit normals ``(N, 3)`` of the planes through the camera centre and each segment."""
    ends = np.concatenate([segments.reshape(-1, 2, 2), np.ones((len(segments), 2, 1))], axis=2)
    rays = ends @ np.linalg.inv(K).T
    return _unit(np.cross(rays[:, 0], rays[:, 1]))


def _cells(directions: Array) -> npt.NDArray[np.intp]:
    """Return the cell of the grid over the hemisphere z >= 0 for each direction; signs are ignored."""
    x, y, z = np.moveaxis(directions * np.where(directions[..., 2:] < 0, -1.0, 1.0), -1, 0)
    rows, columns = round(90 / GRID_DEGREES), round(360 / GRID_DEGREES)
    latitude = np.degrees(np.arccos(np.clip(z, 0, 1))) / GRID_DEGREES
    longitude = np.degrees(np.arctan2(y, x)) / GRID_DEGREES
    row = np.clip(latitude.astype(np.intp), 0, rows - 1)
    column: npt.NDArray[np.intp] = row * columns + np.floor(longitude).astype(np.intp) % columns
    return column


def _votes(segments: Array, planes: Array) -> Array:
    """Return the grid of votes; each pair of lines votes for its common vanishing direction (section 3.2)."""
    first, second = np.triu_indices(len(segments), 1)
    slope = np.arctan2(segments[:, 3] - segments[:, 1], segments[:, 2] - segments[:, 0])
    angle = np.abs((slope[first] - slope[second] + np.pi / 2) % np.pi - np.pi / 2)
    meeting = np.cross(planes[first], planes[second])
    sine = np.linalg.norm(meeting, axis=1)
    kept = (angle <= np.radians(MAX_PAIR_DEGREES)) & (sine > 1e-9)
    first, second, angle = first[kept], second[kept], angle[kept]
    lengths = _lengths(segments)
    weights = np.sqrt(lengths[first] * lengths[second]) * (np.sin(2 * angle) + 0.2)
    rows, columns = round(90 / GRID_DEGREES), round(360 / GRID_DEGREES)
    grid = np.bincount(_cells(meeting[kept] / sine[kept, None]), weights, rows * columns).reshape(rows, columns)
    # Votes are smoothed over neighbouring cells; longitude is periodic, latitude ends at the pole and the horizon.
    around = np.pad(np.pad(grid, ((1, 1), (0, 0))), ((0, 0), (1, 1)), mode="wrap")
    mean = np.mean([around[i : i + rows, j : j + columns] for i in range(3) for j in range(3)], axis=0)
    total: Array = (grid + mean).ravel()
    return total


def _hypotheses(planes: Array, rng: np.random.Generator) -> Array:
    """Return orthogonal frames ``(M, T, 3, 3)``: the first row from two lines, the second at T angles around it."""
    draws = int(np.log(MISSED_HYPOTHESES) / np.log(1 - INLIER_PAIRS))
    first = rng.integers(0, len(planes), draws)
    second = (first + rng.integers(1, len(planes), draws)) % len(planes)
    one = np.cross(planes[first], planes[second])
    one = _unit(one[np.linalg.norm(one, axis=1) > 1e-6])
    aside = _unit(np.cross(one, np.eye(3)[np.abs(one).argmin(axis=1)]))[:, None]
    turns = np.radians(np.arange(0, 360, GRID_DEGREES))[None, :, None]
    two = np.cos(turns) * aside + np.sin(turns) * np.cross(one[:, None], aside)
    one = np.broadcast_to(one[:, None], two.shape)
    return np.stack([one, two, np.cross(one, two)], axis=2)


def _candidates(segments: Array, planes: Array, rng: np.random.Generator) -> Array:
    """Return the frames ``(M, 3, 3)`` with the most votes, an equal number for each sampled pair of lines."""
    frames = _hypotheses(planes, rng)
    votes = _votes(segments, planes)[_cells(frames)].sum(axis=2)
    best = np.argsort(-votes, axis=1, kind="stable")[:, :TURNS_KEPT]
    chosen: Array = np.take_along_axis(frames, best[:, :, None, None], axis=1)
    return chosen.reshape(-1, 3, 3)


def _scores(frames: Array, planes: Array, lengths: Array, limit: float) -> Array:
    """Return the total length of the lines that each frame explains, ``(M,)``, weighted down by angular error."""
    sines = np.abs(planes @ frames.transpose(0, 2, 1)).min(axis=2)
    scores: Array = np.clip(1 - (sines / np.sin(limit)) ** 2, 0, None) @ lengths
    return scores


def _assign(frame: Array, planes: Array, limit: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return for each line the direction closest to its plane, and whether the angle is below the limit."""
    sines = np.abs(planes @ frame.T)
    return sines.argmin(axis=1), sines.min(axis=1) <= np.sin(limit)


def _refined(frame: Array, planes: Array, lengths: Array, limit: float) -> Array:
    """Return a frame rotated such that its directions lie in the planes of their lines, by least squares."""
    for reach in (2 * limit, limit, limit, limit):
        nearest, inlier = _assign(frame, planes, reach)
        directions, normals, weights = frame[nearest[inlier]], planes[inlier], np.sqrt(lengths[inlier])
        # A small rotation w changes v by w x v, hence the residual n.v by w.(v x n).
        rows = np.cross(directions, normals) * weights[:, None]
        residuals = (directions * normals).sum(axis=1) * weights
        turn = np.linalg.lstsq(rows, -residuals, rcond=1e-6)[0]
        frame = frame @ cv2.Rodrigues(turn)[0].T
    return frame


def _best(frames: Array, planes: Array, lengths: Array, limit: float) -> tuple[Array, float]:
    """Return the best frame and its score after refining the frames with the highest scores."""
    order = np.argsort(-_scores(frames, planes, lengths, limit), kind="stable")[:REFINED]
    refined = np.stack([_refined(frames[i], planes, lengths, limit) for i in order])
    scores = _scores(refined, planes, lengths, limit)
    return refined[scores.argmax()], float(scores.max())


def angles_between(frames: Array, frame: Array) -> Array:
    """Return the rotation angles between one Manhattan frame and others, for any order and sign of their rows.

    Args:
        frames: float64 ``(M, 3, 3)``, orthonormal rows.
        frame: float64 ``(3, 3)``, orthonormal rows.

    Returns:
        float64 ``(M,)``, radians.

    >>> np.degrees(angles_between(np.eye(3)[None, [2, 0, 1]], np.diag([1.0, -1, 1]))).tolist()
    [0.0]
    """
    cosines = np.abs(frames @ frame.T)
    traces = [cosines[:, [0, 1, 2], order].sum(axis=1) for order in itertools.permutations(range(3))]
    angles: Array = np.arccos(np.clip((np.max(traces, axis=0) - 1) / 2, -1, 1))
    return angles


def _ordered(frame: Array) -> Array:
    """Return the rows with z >= 0, in the order: furthest to the right, furthest to the left, vertical."""
    frame = frame * np.where(frame[:, 2:] < 0, -1.0, 1.0)
    vertical = int(np.abs(frame[:, 1]).argmax())
    others = sorted(set(range(3)) - {vertical}, key=lambda row: -frame[row, 0])
    return frame[[*others, vertical]]


def vanishing_directions(
    image: npt.NDArray[Any], K: npt.NDArray[np.floating], settings: VanishingSettings | None = None
) -> Array | None:
    """Return the Manhattan frame of an image.

    Args:
        image: ``(H, W, 3)`` RGB, uint8 or float in [0, 1].
        K: ``(3, 3)``, pixels, corner convention.
        settings: Constants of the search; None uses the defaults.

    Returns:
        float64 ``(3, 3)``: orthonormal rows in the camera frame with z >= 0, in the order right, left, vertical in the
        image (not always a right-handed frame). None if there are too few lines, or two frames fit about equally well.
    """
    settings = VanishingSettings() if settings is None else settings
    segments = find_segments(image, min_length_px=settings.min_length * image.shape[1])[: settings.max_segments]
    if len(segments) < 2 * settings.min_support:
        return None
    planes, lengths = _planes(segments, np.asarray(K, dtype=np.float64)), _lengths(segments)
    frames = _candidates(segments, planes, np.random.default_rng(settings.seed))
    if len(frames) == 0:
        return None
    limit = np.radians(settings.inlier_degrees)
    frame, score = _best(frames, planes, lengths, limit)
    nearest, inlier = _assign(frame, planes, limit)
    support = np.sort(np.bincount(nearest[inlier], minlength=3))
    if support[1] < settings.min_support:
        return None
    others = frames[angles_between(frames, frame) > np.radians(settings.rival_degrees)]
    if len(others):
        rival, rival_score = _best(others, planes, lengths, limit)
        still_another = angles_between(rival[None], frame)[0] > np.radians(settings.rival_degrees)
        if still_another and rival_score > settings.max_rival * score:
            return None
    return _ordered(frame)
