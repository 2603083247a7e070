"""Morphological operations on masks."""

import torch.nn.functional as F
from torch import Tensor


def erode(mask: Tensor, margin_px: int) -> Tensor:
    """Erosion of a mask with a square structuring element; pixels outside the image do not erode.

    Args:
        mask: bool ``(B, 1, H, W)``.
        margin_px: half the side of the square, pixels; 0 returns the mask.

    Returns:
        bool ``(B, 1, H, W)``.
    """
    if margin_px == 0:
        return mask
    outside = F.max_pool2d((~mask).float(), kernel_size=2 * margin_px + 1, stride=1, padding=margin_px)
    return outside == 0
