"""Mirror images: the camera of one, and the blend of what a network says of an image and of its mirror image."""

import torch
from torch import Tensor

FLIP_MARGIN = 0.05
"""Part of the width at either border that comes from one of the two predictions alone (Godard et al. 2017)."""


def mirrored_intrinsics(K: Tensor, *, width: float) -> Tensor:
    """Intrinsics of the mirror image: ``cx`` becomes ``width - cx`` (corner convention).

    Args:
        K: ``(..., 3, 3)``, pixels.
        width: of the image, pixels.

    Returns:
        ``(..., 3, 3)``; the input is not written to.
    """
    mirrored = K.clone()
    mirrored[..., 0, 2] = width - K[..., 0, 2]
    return mirrored


def blend_mirrored(values: Tensor, of_mirror_image: Tensor, *, margin: float = FLIP_MARGIN) -> Tensor:
    """Blend what was predicted for images and for their mirror images ("+PP", Godard et al. 2017, section 4).

    A network that learnt from pairs of views knows least of what only one of them sees, at the border. With x the
    centre of a pixel in image widths: the mirror image alone counts for ``x <= margin``, the image alone for
    ``x >= 1 - margin``, the mean of both between ``2 margin`` and ``1 - 2 margin``, and weights are linear in between.

    Args:
        values: ``(..., H, W)``, for the images.
        of_mirror_image: ``(..., H, W)``, for their mirror images, as predicted, not turned back.
        margin: part of the width in (0, 0.25].

    Returns:
        ``(..., H, W)``, as the images lie.

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
    left = (2 - x / margin).clamp(0, 1)  # 1 up to the margin, 0 from twice of it on
    mirrored_share = (0.5 * (1 + left - left.flip(-1))).to(values.dtype)
    return torch.lerp(values, of_mirror_image.flip(-1), mirrored_share)
