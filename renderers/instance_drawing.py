"""Drawing of masks, boxes, labels and scores on a picture."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

OPACITY = 0.5
"""Opacity of masks."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_USUAL_SIDE = 1000
"""Longer side of a picture, in pixels, up to which the text size is constant."""


def draw_instances(
    pixels: npt.NDArray[np.uint8],
    *,
    boxes: npt.NDArray[np.float32],
    labels: Sequence[int],
    masks: npt.NDArray[np.bool_] | None,
    scores: Sequence[float] | None = None,
    class_names: Sequence[str] | None = None,
    min_side: int = 384,
) -> npt.NDArray[np.uint8]:
    """Picture with instances, drawn from last to first, so that the first (best) detection is on top.

    Args:
        pixels: uint8 ``(H, W, 3)``, RGB.
        boxes: ``(M, 4)`` xyxy, pixels.
        labels: Class of each, from 1.
        masks: bool ``(M, H, W)``, or None for boxes alone.
        scores: In [0, 1], written beside the class; None for ground truth.
        class_names: Name of label k at k - 1; None writes the numbers. Text and lines scale with the picture.
        min_side: A smaller picture is enlarged, so that text fits.

    Returns:
        uint8 ``(H', W', 3)``, larger by an integer factor.
    """
    height, width = pixels.shape[:2]
    scale = max(-(-min_side // max(height, width)), 1)
    canvas = np.repeat(np.repeat(pixels, scale, axis=0), scale, axis=1).copy()
    large = max(max(canvas.shape[:2]) / _USUAL_SIDE, 1.0)
    line = round(large)
    for k in reversed(range(len(labels))):
        colour = instance_colour(k)
        if masks is not None:
            inside = np.repeat(np.repeat(masks[k], scale, axis=0), scale, axis=1)
            canvas[inside] = (1 - OPACITY) * canvas[inside] + OPACITY * np.array(colour)
        x1, y1, x2, y2 = (round(float(value) * scale) for value in boxes[k])
        cv2.rectangle(canvas, (x1, y1), (max(x2 - 1, x1), max(y2 - 1, y1)), colour, line)
        name = str(labels[k]) if class_names is None else class_names[labels[k] - 1]
        text = name if scores is None else f"{name} {scores[k]:.2f}"
        place = (x1 + round(2 * large), max(y1, 0) + round(11 * large))
        cv2.putText(canvas, text, place, _FONT, 0.38 * large, (0, 0, 0), line + 1, cv2.LINE_AA)
        cv2.putText(canvas, text, place, _FONT, 0.38 * large, (255, 255, 255), line, cv2.LINE_AA)
    return canvas


def instance_colour(number: int) -> tuple[int, int, int]:
    """A colour (red, green, blue) that is clearly different from those of neighbouring numbers."""
    hue = np.array([[[number * 67 % 180, 220, 255]]], dtype=np.uint8)
    red, green, blue = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue
