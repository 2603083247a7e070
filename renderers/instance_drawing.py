"""Drawing of masks, boxes, labels and scores on a picture."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from renderers.figure import resized
from renderers.lettering import font, printable, shortened, width_of

OPACITY = 0.5
"""Opacity of masks."""

_LETTERS = 12  # pixels
_GROUND = (25, 25, 25)
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
    size: tuple[int, int] | None = None,
) -> npt.NDArray[np.uint8]:
    """Picture with instances, drawn from last to first, so that the first (best) detection is on top.

    Args:
        pixels: uint8 ``(H, W, 3)``, RGB.
        boxes: ``(M, 4)`` xyxy, pixels.
        labels: Class of each, from 1.
        masks: bool ``(M, H, W)``, or None for boxes alone.
        scores: In [0, 1], written beside the class; None for ground truth.
        class_names: Name of label k at k - 1; None writes the numbers. Text and lines scale with the picture.
        min_side: A smaller picture is enlarged by an integer factor, so that text fits.
        size: Rows and columns of the result, in place of ``min_side``; text is drawn after the resizing.

    Returns:
        uint8 ``(H', W', 3)``.
    """
    if size is None:
        factor = max(-(-min_side // max(pixels.shape[:2])), 1)
        size = (factor * pixels.shape[0], factor * pixels.shape[1])
    factors = np.array([size[1] / pixels.shape[1], size[0] / pixels.shape[0]] * 2)
    boxes = boxes * factors
    canvas = resized(pixels, size).copy()
    large = max(max(canvas.shape[:2]) / _USUAL_SIDE, 1.0)
    line = round(large)
    texts: list[tuple[int, int, str]] = []
    for k in reversed(range(len(labels))):
        colour = instance_colour(k)
        if masks is not None:
            mask = np.ascontiguousarray(masks[k]).view(np.uint8)
            inside = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT) > 0
            canvas[inside] = (1 - OPACITY) * canvas[inside] + OPACITY * np.array(colour)
        x1, y1, x2, y2 = (round(float(value)) for value in boxes[k])
        cv2.rectangle(canvas, (x1, y1), (max(x2 - 1, x1), max(y2 - 1, y1)), colour, line)
        name = str(labels[k]) if class_names is None else class_names[labels[k] - 1]
        texts.append((x1 + line, max(y1, 0) + line, name if scores is None else f"{name} {scores[k]:.2f}"))
    return _labelled(canvas, texts, round(_LETTERS * large)) if texts else canvas


def _labelled(canvas: npt.NDArray[np.uint8], texts: Sequence[tuple[int, int, str]], size: int) -> npt.NDArray[np.uint8]:
    """The picture with white texts on dark ground at columns and rows of their corners, the last on top."""
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for left, top, text in texts:
        left = max(0, min(left, picture.width - width_of(printable(text), size) - 4))
        top = max(0, min(top, picture.height - size - 3))
        line = shortened(text, size=size, width=picture.width - left)
        draw.rectangle((left, top, left + width_of(line, size) + 3, top + size + 2), fill=_GROUND)
        draw.text((left + 2, top), line, fill="white", font=font(size))
    return np.asarray(picture).copy()


def instance_colour(number: int) -> tuple[int, int, int]:
    """A colour (red, green, blue) that is clearly different from those of neighbouring numbers."""
    hue = np.array([[[number * 67 % 180, 220, 255]]], dtype=np.uint8)
    red, green, blue = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue
