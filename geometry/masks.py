"""Morphological operations on masks, and sampling of masks at the stride of a coarser grid."""

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


def sample_at_stride(masks: Tensor, stride: int) -> Tensor:
    """Return every ``stride``-th pixel from ``stride // 2`` on, the centres of the cells of a grid of that stride.

    Args:
        masks: ``(..., H, W)``, H and W multiples of ``stride``.
        stride: pixels a cell.

    Returns:
        ``(..., H / stride, W / stride)``, a view.
    """
    return masks[..., stride // 2 :: stride, stride // 2 :: stride]
