"""DepthMetrics on a validation batch against a numpy loop over its images.

The reference computes the same eleven errors and three edge scores, one image at a time, with scipy's distance
transform. Both run on the CPU, with the threads that torch has been given.
"""

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from benchmarks.timing import median_seconds
from metrics.depth import DepthMetrics

Array = npt.NDArray[np.float32]
SHAPE = (8, 1, 96, 128)
REPEATS = 9
MIN_DEPTH_M, MAX_DEPTH_M, MAX_DISTANCE_PX, TOLERANCE_PX, RELATIVE_JUMP = 1e-3, 10.0, 10.0, 1.0, 0.1


def _batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    blocks = torch.rand(SHAPE[0], 1, 6, 8, generator=generator) * 6 + 1
    target = torch.nn.functional.interpolate(blocks, size=SHAPE[2:])
    prediction = target * (0.9 + 0.2 * torch.rand(SHAPE, generator=generator))
    return prediction, target, torch.rand(SHAPE, generator=generator) > 0.1


def _edges(depth: Array, valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    logarithm = np.log(np.where(valid, depth, 1))
    found = np.zeros_like(valid)
    threshold = np.log1p(RELATIVE_JUMP)
    across, down = np.diff(logarithm, axis=1), np.diff(logarithm, axis=0)
    both_across, both_down = valid[:, 1:] & valid[:, :-1], valid[1:] & valid[:-1]
    found[:, :-1] |= both_across & (across > threshold)
    found[:, 1:] |= both_across & (across < -threshold)
    found[:-1] |= both_down & (down > threshold)
    found[1:] |= both_down & (down < -threshold)
    return found


def _image_errors(prediction: Array, target: Array, mask: npt.NDArray[np.bool_], median: bool) -> list[float]:
    valid = mask & (target >= MIN_DEPTH_M) & (target <= MAX_DEPTH_M)
    g, raw = target[valid], prediction[valid]
    scale = np.median(g) / np.median(raw) if median else 1.0
    p = np.clip(scale * raw, MIN_DEPTH_M, MAX_DEPTH_M)
    d = np.log(p) - np.log(g)
    ratio = np.maximum(p / g, g / p)
    scaled = (scale * raw - g) / 10
    errors = [
        np.mean(np.abs(g - p) / g),
        np.mean((g - p) ** 2 / g),
        np.sqrt(np.mean((g - p) ** 2)),
        np.sqrt(np.mean(d**2)),
        np.mean(np.abs(d)) / np.log(10),
        100 * np.std(d),
        *(np.mean(ratio < 1.25**k) for k in (1, 2, 3)),
        np.mean(np.abs(scaled)),
        np.mean(scaled**2),
    ]
    predicted = _edges(np.clip(scale * prediction, MIN_DEPTH_M, MAX_DEPTH_M), valid)
    true = _edges(target, valid)
    to_true = np.minimum(distance_transform_edt(~true), MAX_DISTANCE_PX)[predicted]
    to_predicted = np.minimum(distance_transform_edt(~predicted), MAX_DISTANCE_PX)[true]
    precision, recall = np.mean(to_true <= TOLERANCE_PX), np.mean(to_predicted <= TOLERANCE_PX)
    errors += [np.mean(to_true), np.mean(to_predicted), 2 * precision * recall / (precision + recall)]
    return [float(error) for error in errors]


def run() -> list[tuple[str, float, float]]:
    """Time one update of a batch of eight 96x128 images with each alignment of the reference.

    Returns:
        ``(name, seconds of DepthMetrics, seconds of the numpy loop)``, each a median of several repeats.

    Raises:
        RuntimeError: if the two disagree, since their times would then mean nothing.
    """
    prediction, target, mask = _batch()
    depth_scale_m = torch.full((len(prediction),), 10.0)
    arrays = [tensor[:, 0].numpy() for tensor in (prediction, target, mask)]
    results = []
    for name, median in (("none", False), ("median", True)):
        metric = DepthMetrics("median" if median else "none", MIN_DEPTH_M, MAX_DEPTH_M)

        def ours(metric: DepthMetrics = metric) -> None:
            metric.update(prediction, target_m=target, mask=mask, depth_scale_m=depth_scale_m)

        def reference(median: bool = median) -> list[list[float]]:
            return [_image_errors(p, g, m, median) for p, g, m in zip(*arrays, strict=True)]

        ours()
        values = [value.item() for value in metric.compute().values()]
        if not np.allclose(values, np.mean(reference(), axis=0), rtol=1e-3):
            raise RuntimeError(f"DepthMetrics and the numpy loop disagree for alignment '{name}'.")
        size = "x".join(map(str, SHAPE))
        seconds_ours, seconds_reference = median_seconds(ours, reference, repeats=REPEATS)
        results.append((f"DepthMetrics.update {size}, {name}", seconds_ours, seconds_reference))
    return results
