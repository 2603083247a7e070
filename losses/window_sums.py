"""Sums over 3x3 windows of padded images, in place, and the reflected border that they need."""

import torch
from torch import Tensor


def window_sums(maps: Tensor, rows: Tensor, stride: int) -> Tensor:
    """Sum of every 3x3 window, by four additions over contiguous memory that holds all rows and planes.

    Args:
        maps: ``(..., N)``, each a stack of planes with rows of ``stride`` values, border included; overwritten.
        rows: ``(..., N)``, memory for the intermediate sums.
        stride: values from one row to the next.

    Returns:
        View ``(..., N - 2 * stride - 2)`` into ``maps``: the sum of a window is at the position of its first value.
        Windows that cross the end of a row or plane hold meaningless sums, which the caller has to ignore.
    """
    width, height = maps.shape[-1] - 2, maps.shape[-1] - 2 - 2 * stride
    rows = torch.add(maps[..., :width], maps[..., 1:-1], out=rows[..., :width])
    rows += maps[..., 2:]
    sums = torch.add(rows[..., :height], rows[..., stride:-stride], out=maps[..., :height])
    sums += rows[..., 2 * stride :]
    return sums


def reflect_border(planes: Tensor) -> None:
    """Fill the border of one pixel with the reflection of the inside, in place.

    Args:
        planes: ``(..., H + 2, W + 2)``, H and W at least 2.
    """
    planes[..., 0, 1:-1] = planes[..., 2, 1:-1]
    planes[..., -1, 1:-1] = planes[..., -3, 1:-1]
    planes[..., 0] = planes[..., 2]
    planes[..., -1] = planes[..., -3]


def fold_border(planes: Tensor) -> Tensor:
    """Adjoint of :func:`reflect_border`: add the border to the pixels it mirrors, in place.

    Args:
        planes: ``(..., H + 2, W + 2)``, overwritten.

    Returns:
        View ``(..., H, W)`` of the inside.
    """
    planes[..., 2, :] += planes[..., 0, :]
    planes[..., -3, :] += planes[..., -1, :]
    planes[..., 2] += planes[..., 0]
    planes[..., -3] += planes[..., -1]
    return planes[..., 1:-1, 1:-1]
