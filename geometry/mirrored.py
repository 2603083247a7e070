"""Intrinsics of mirrored images, and flip post-processing: blending the predictions for an image and its mirror."""

import torch
from torch import Tensor

FLIP_MARGIN = 0.05
"""Fraction of the width at each border that is taken from one of the two predictions (Godard et al. 2017)."""


def mirrored_intrinsics(K: Tensor, *, width: float) -> Tensor:
    """Intrinsics of the mirror image: ``cx`` becomes ``width - cx`` (corner convention).

    Args:
        K: ``(..., 3, 3)``, pixels.
        width: of the image, pixels.

    Returns:
        ``(..., 3, 3)``; the input is not modified.
    """
    mirrored = K.clone()
    mirrored[..., 0, 2] = width - K[..., 0, 2]
    return mirrored


def blend_mirrored(values: Tensor, of_mirror_image: Tensor, *, margin: float = FLIP_MARGIN) -> Tensor:
    """Blend of the predictions for images and for their mirror images ("+PP", Godard et al. 2017, section 4).

    A network trained on pairs of views is least accurate at the border, which only one of them shows. With x the centre
    of a pixel in image widths, the result is the prediction for the mirror image for ``x <= margin``, that for the
    image for ``x >= 1 - margin`` and the mean of both between ``2 margin`` and ``1 - 2 margin``; weights are linear in
    between.

    Args:
        values: ``(..., H, W)``, predictions for the images.
        of_mirror_image: ``(..., H, W)``, predictions for their mirror images, not flipped back.
        margin: fraction of the width in (0, 0.25].

    Returns:
        ``(..., H, W)``, in the orientation of the images.

    Raises:
        ValueError: if the shapes differ or the margin is out of range.
    """
    if values.shape != of_mirror_image.shape:
        raise ValueError(
            f"The predictions have the shapes {tuple(values.shape)} and {tuple(of_mirror_image.shape)}, but both must "
            "be the same."
        )
    if not 0 < margin <= 0.25:
        raise ValueError(f"margin is {margin}, but it must lie in (0, 0.25].")
    width = values.shape[-1]
    x = (torch.arange(width, dtype=torch.float64, device=values.device) + 0.5) / width
    left = (2 - x / margin).clamp(0, 1)  # 1 up to the margin, 0 from twice the margin on
    mirrored_share = (0.5 * (1 + left - left.flip(-1))).to(values.dtype)
    return torch.lerp(values, of_mirror_image.flip(-1), mirrored_share)
