"""Rows of a figure that show depth: image, ground truth, prediction and error, with their colour bars."""

from collections.abc import Sequence

import torch
from torch import Tensor

from renderers.colour_bars import ColourBar, depth_bar
from renderers.display import colorize, depth_range, error_map, to_uint8
from renderers.figure import Picture, PictureRow

RELATIVE = "relative"
"""Unit of depth whose scale is unknown."""


def depth_rows(
    image: Tensor,
    truth: Tensor | None,
    mask: Tensor | None,
    prediction: Tensor,
    *,
    names: Sequence[str],
    scores: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    title: str = "prediction",
    ends: tuple[float, float] | None = None,
    max_relative: float = 0.5,
) -> list[PictureRow]:
    """Rows of image, ground truth, prediction and relative error; image and prediction where no truth is given.

    Ground truth and prediction of an image have one range of colours, that of the ground truth, or of the prediction
    where the image has none. A map without any valid pixel is grey and has no bar; its title states what is missing.

    Args:
        image: float ``(B, 3, H, W)``, RGB in [0, 1].
        truth: float ``(B, 1, H, W)``, metres, or None.
        mask: bool ``(B, 1, H, W)``, pixels with ground truth; None takes every positive depth.
        prediction: float ``(B, 1, H, W)``, metres, or any unit.
        names: Name of each sample.
        scores: Text behind each name.
        units: Unit of depth of each sample; None is metres for all.
        title: Title of the prediction.
        ends: Near and far end of the colours in metres, in place of those of each sample.
        max_relative: Relative error of the full colour, see :func:`renderers.display.error_map`.

    Raises:
        ValueError: If the shapes of image and prediction do not fit.
    """
    if prediction.ndim != 4 or image.shape != (len(prediction), 3, *prediction.shape[2:]):
        raise ValueError(
            f"image has shape {tuple(image.shape)} and prediction {tuple(prediction.shape)}, "
            "but (B, 3, H, W) and (B, 1, H, W) are needed"
        )
    prediction = prediction.detach().float()
    usable = prediction.isfinite() & (prediction > 0)
    near, far = depth_range(prediction)
    known = torch.zeros(len(prediction), dtype=torch.bool, device=prediction.device)
    errors = true_colours = None
    if truth is not None:
        mask = (truth > 0 if mask is None else mask & (truth > 0)) & truth.isfinite()
        known = mask.flatten(1).any(dim=1)
        true_near, true_far = depth_range(truth, mask=mask)
        near, far = torch.where(known, true_near, near), torch.where(known, true_far, far)
    if ends is not None:
        near, far = torch.full_like(near, ends[0]), torch.full_like(far, ends[1])
    if truth is not None and mask is not None:
        true_colours = colorize(truth, mask=mask, near_m=near, far_m=far)
        errors = error_map(prediction, target=truth, mask=mask, max_relative=max_relative)
    colours = colorize(prediction, near_m=near, far_m=far)
    rows = []
    for index, name in enumerate(names):
        has_depth = bool(usable[index].any())
        bar = None
        if has_depth or bool(known[index]):
            bar = depth_bar(float(near[index]), float(far[index]), "m" if units is None else units[index])
        pictures = [Picture("image", to_uint8(image[index]).numpy())]
        if true_colours is not None:
            there = bool(known[index])
            heading = "ground truth" if there else "ground truth: none"
            pictures.append(Picture(heading, to_uint8(true_colours[index]).numpy(), bar if there else None, True))
        heading = title + unusable_note(usable[index])
        pictures.append(Picture(heading, to_uint8(colours[index]).numpy(), bar if has_depth else None))
        if errors is not None:
            scale = ColourBar(-max_relative, max_relative, "error") if bool(known[index]) and has_depth else None
            pictures.append(Picture("relative error", to_uint8(errors[index]).numpy(), scale, True))
        rows.append(PictureRow(name, tuple(pictures), "" if scores is None else scores[index]))
    return rows


def unusable_note(usable: Tensor) -> str:
    """Note behind the title of a prediction about pixels without a positive, finite depth; "" if there are none.

    Args:
        usable: bool, any shape.

    >>> unusable_note(torch.tensor([True, False, True, True])), unusable_note(torch.tensor([False]))
    (': 25 % without depth', ': no depth')
    """
    missing = 1 - float(usable.float().mean())
    if missing <= 0:
        return ""
    share = "below 1" if missing < 0.01 else f"{100 * missing:.0f}"
    return ": no depth" if not bool(usable.any()) else f": {share} % without depth"
