"""Resampling of coarse maps."""

from torch import Tensor
from torch.nn import functional as F


def aligned_bilinear(maps: Tensor, factor: int) -> Tensor:
    """Bilinear upsampling that moves the value ``j`` of a map to position ``factor j + floor(factor / 2)``.

    The upsampling of CondInst. Values are interpolated linearly; before the first and behind the last one the nearest
    is repeated. A map of stride ``s`` that is upsampled ``s`` times has its values at the pixels
    ``floor(s / 2) + s j``, which are the locations of FCOS. With torch's ``align_corners=False`` the value ``j`` would
    be half a pixel of the result before.

    Tian et al. 2020, https://arxiv.org/abs/2003.05664.

    Args:
        maps: ``(N, C, h, w)`` floating point; N may be zero.
        factor: integer upsampling factor, at least 1.

    Returns:
        ``(N, C, factor * h, factor * w)``.

    Raises:
        ValueError: if the factor is below 1 or the maps are not four-dimensional.
    """
    if factor < 1:
        raise ValueError(f"The factor is {factor}, but it must be at least 1.")
    if maps.ndim != 4:
        raise ValueError(f"The maps must be (N, C, h, w), got {tuple(maps.shape)}.")
    if factor == 1:
        return maps
    height, width = maps.shape[-2:]
    if maps.shape[0] == 0:  # torch cannot pad an empty batch
        return maps.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    # With one more row and column, the align_corners grid has exactly `factor` steps between values.
    grid = F.interpolate(
        F.pad(maps, (0, 1, 0, 1), mode="replicate"),
        size=(factor * height + 1, factor * width + 1),
        mode="bilinear",
        align_corners=True,
    )
    shifted = F.pad(grid, (factor // 2, 0, factor // 2, 0), mode="replicate")
    return shifted[..., : factor * height, : factor * width]
