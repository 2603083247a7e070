"""Depth metrics in plain numpy, one image and one formula at a time; written apart from the library."""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

Array = npt.NDArray[np.float64]


def window(shape: tuple[int, int], crop: tuple[float, float, float, float] | None) -> npt.NDArray[np.bool_]:
    inside = np.zeros(shape, dtype=bool)
    if crop is None:
        return ~inside
    height, width = shape
    inside[round(crop[0] * height) : round(crop[1] * height), round(crop[2] * width) : round(crop[3] * width)] = True
    return inside


def edges_of(depth: Array, valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    found = np.zeros_like(valid)
    padded = np.pad(np.where(valid, depth, np.nan), 1, constant_values=np.nan)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        neighbour = padded[1 + dy : 1 + dy + depth.shape[0], 1 + dx : 1 + dx + depth.shape[1]]
        with np.errstate(invalid="ignore"):
            found |= valid & (neighbour > 1.1 * depth)
    return found


def image_errors(
    prediction: Array,
    target: Array,
    mask: npt.NDArray[np.bool_],
    scale_m: float,
    alignment: str = "none",
    low: float = 1e-3,
    high: float = 10.0,
    crop: tuple[float, float, float, float] | None = None,
) -> dict[str, float] | None:
    """Errors of one image ``(H, W)``, or None without a valid pixel."""
    with np.errstate(invalid="ignore"):
        valid = mask & (target >= low) & (target <= high) & window(target.shape, crop)
    if not valid.any():
        return None
    g, p = target[valid].astype(np.float64), prediction[valid].astype(np.float64)
    if alignment == "median":
        p = p * np.median(g) / np.median(p)
    if alignment == "least_squares":
        slope, intercept = np.polyfit(p, g, 1)
        p = slope * p + intercept if slope > 0 else p * g.mean() / p.mean()
    q = np.minimum(np.maximum(p, low), high)
    d = np.log(q) - np.log(g)
    worst = np.maximum(q / g, g / q)
    errors = {
        "abs_rel": np.mean(np.abs(g - q) / g),
        "sq_rel": np.mean((g - q) ** 2 / g),
        "rmse": np.sqrt(np.mean((g - q) ** 2)),
        "rmse_log": np.sqrt(np.mean(d**2)),
        "log10": np.mean(np.abs(np.log10(g) - np.log10(q))),
        "silog": 100 * np.sqrt(np.var(d)),
        "delta1": np.mean(worst < 1.25),
        "delta2": np.mean(worst < 1.5625),
        "delta3": np.mean(worst < 1.953125),
        "l1_scaled": np.mean(np.abs(p / scale_m - g / scale_m)),
        "mse_scaled": np.mean((p / scale_m - g / scale_m) ** 2),
    }
    full = np.ones_like(target, dtype=np.float64)
    full[valid] = q
    predicted, true = edges_of(full, valid), edges_of(np.where(valid, target, 1).astype(np.float64), valid)
    if true.any():
        errors |= {"edge_accuracy": 10.0, "edge_completeness": 10.0, "edge_f1": 0.0}
        if predicted.any():
            to_true = np.minimum(distance_transform_edt(~true), 10)[predicted]
            to_predicted = np.minimum(distance_transform_edt(~predicted), 10)[true]
            precision, recall = np.mean(to_true <= 1), np.mean(to_predicted <= 1)
            errors["edge_accuracy"], errors["edge_completeness"] = to_true.mean(), to_predicted.mean()
            if precision + recall > 0:
                errors["edge_f1"] = 2 * precision * recall / (precision + recall)
    return errors


def mean_errors(rows: list[dict[str, float] | None]) -> dict[str, float]:
    """Average of the images that have each error."""
    present = [row for row in rows if row is not None]
    names = dict.fromkeys(name for row in present for name in row)
    return {name: float(np.mean([row[name] for row in present if name in row])) for name in names}
