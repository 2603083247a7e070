"""Boxes on the pixel grid, their masks, and neighbouring pixels.

Boxes are ``(x1, y1, x2, y2)`` in float pixels of an image whose top-left corner is (0, 0).
"""

import torch
from torch import Tensor

NEIGHBOUR_OFFSETS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""Offsets ``(dy, dx)`` of the 8 neighbours, in units of the dilation; neighbour ``7 - i`` is opposite neighbour
``i``."""


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes clipped to the image.

    Args:
        boxes: ``(..., 4)`` xyxy in pixels.
        size: height and width of the image.

    Returns:
        ``(..., 4)``; a box entirely outside has no area left.

    Raises:
        ValueError: if the last dimension is not 4.
    """
    _check_boxes(boxes)
    height, width = size
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)


def has_area(boxes: Tensor) -> Tensor:
    """Whether boxes have a positive width and height; False for padding boxes.

    Args:
        boxes: ``(..., 4)`` xyxy.

    Returns:
        Bool ``(...)``; False where a coordinate is NaN.

    Raises:
        ValueError: if the last dimension is not 4.
    """
    _check_boxes(boxes)
    return (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)


def box_masks(boxes: Tensor, size: tuple[int, int], *, stride: int = 1) -> Tensor:
    """Masks of boxes: rows ``floor(y1) .. floor(y2 + 1) - 1``, columns likewise (BoxInst).

    Args:
        boxes: ``(..., 4)`` xyxy in pixels of the full image.
        size: height ``H`` and width ``W`` of the full image.
        stride: keep only every ``stride``-th row and column, beginning with ``stride // 2``, of the full masks.

    Returns:
        Bool ``(..., H, W)``, or ``(..., h, w)`` with ``h = ceil((H - stride // 2) / stride)``. A box without area, such
        as padding, has an empty mask.

    Raises:
        ValueError: if the last dimension of the boxes is not 4 or ``stride`` is below 1.
    """
    _check_boxes(boxes)
    _check_at_least_1("stride", stride)
    x1, y1, x2, y2 = boxes.unsqueeze(-2).unbind(dim=-1)
    rows, columns = (torch.arange(stride // 2, length, stride, device=boxes.device) for length in size)
    in_rows = (rows >= y1.floor()) & (rows < (y2 + 1).floor())
    in_columns = (columns >= x1.floor()) & (columns < (x2 + 1).floor())
    return (in_rows & has_area(boxes).unsqueeze(-1)).unsqueeze(-1) & in_columns.unsqueeze(-2)


def pixel_locations(size: tuple[int, int], stride: int, *, device: torch.device | None = None) -> Tensor:
    """Image positions of the cells of a feature map: ``floor(stride / 2) + stride * index`` (FCOS).

    Args:
        size: height ``h`` and width ``w`` of the feature map.
        stride: pixels of the image per cell.
        device: device of the result.

    Returns:
        float32 ``(h * w, 2)``, each ``(x, y)`` in pixels of the image, row by row.

    Raises:
        ValueError: if ``stride`` is below 1.
    """
    _check_at_least_1("stride", stride)
    y, x = (stride // 2 + stride * torch.arange(n, device=device, dtype=torch.float32) for n in size)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)


def neighbours(values: Tensor, index: int, *, dilation: int = 1) -> tuple[Tensor, Tensor]:
    """The pixels that have a neighbour at an offset, and these neighbours, as two views of the map.

    The views of maps of one size correspond to each other, also for a map that is written to. With ``7 - index`` the
    two are swapped, so that four of the eight offsets cover every pair once.

    Args:
        values: ``(..., H, W)``.
        index: which of ``NEIGHBOUR_OFFSETS``, 0 to 7.
        dilation: factor on the offset, in pixels.

    Returns:
        Two views ``(..., H - |dy|, W - |dx|)``, the pixels and their neighbours at ``(dy, dx)``; empty where the map
        is smaller than the offset.

    Raises:
        ValueError: if ``index`` is not in 0 to 7 or ``dilation`` is below 1.
    """
    if not 0 <= index < len(NEIGHBOUR_OFFSETS):
        raise ValueError(f"The neighbour is {index}, but there are only 0 to {len(NEIGHBOUR_OFFSETS) - 1}.")
    _check_at_least_1("dilation", dilation)
    here, there = values, values
    for dim, step in zip((-2, -1), NEIGHBOUR_OFFSETS[index], strict=True):
        length = values.shape[dim]
        common = max(length - abs(step) * dilation, 0)
        start = min(dilation, length)
        here = here.narrow(dim, start if step < 0 else 0, common)
        there = there.narrow(dim, start if step > 0 else 0, common)
    return here, there


def _check_boxes(boxes: Tensor) -> None:
    if boxes.ndim < 1 or boxes.shape[-1] != 4:
        raise ValueError(f"The boxes have the shape {tuple(boxes.shape)}, but (..., 4) is needed.")


def _check_at_least_1(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} is {value}, but it must be at least 1.")
