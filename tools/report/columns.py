"""Directions of metrics: whether a low value, a high one, or one near zero is better."""

import re
from typing import Literal

Direction = Literal["low", "high", "zero", "none"]

_HIGH = re.compile(
    r"delta\d|edge_f1|f_score|(mask|box)_(ap|iou)|object_iou|ap\d*(_|$)|miou|pixel_accuracy|precision|recall|"
    r"samples_per_s|accuracy(_|$)(?!img|m$|m_)"
)
_LOW_ACCURACY = re.compile(r"(cloud|edge)_accuracy")
_ZERO = re.compile(r"(residual_shift|plane_bend_deg)(_|$)(?!abs)")
_NONE = re.compile(r"lr([-_]|$)|epoch$|step$|teacher_|n_")


def direction(metric: str) -> Direction:
    """Which values of a metric are better.

    Args:
        metric: Name, with or without its stage.

    >>> [direction(name) for name in ("test/abs_rel", "delta1", "plane_bend_deg", "edge_accuracy", "train/lr")]
    ['low', 'high', 'zero', 'low', 'none']
    """
    name = metric.rpartition("/")[2]
    if _NONE.match(name):
        return "none"
    if _LOW_ACCURACY.match(name):  # a distance, in pixels or metres
        return "low"
    if _ZERO.match(name):
        return "zero"
    return "high" if _HIGH.match(name) else "low"
