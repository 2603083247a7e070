"""Sets of pixels made smaller, to stay away from what lies outside of them."""

import torch.nn.functional as F
from torch import Tensor


def erode(mask: Tensor, margin_px: int) -> Tensor:
    """Take away the pixels within a distance of the outside; the image's border is no outside.

    Args:
        mask: bool ``(B, 1, H, W)``.
        margin_px: distance along rows and columns (a square neighbourhood), pixels; 0 takes nothing away.

    Returns:
        bool ``(B, 1, H, W)``.
    """
    if margin_px == 0:
        return mask
    outside = F.max_pool2d((~mask).float(), kernel_size=2 * margin_px + 1, stride=1, padding=margin_px)
    return outside == 0
