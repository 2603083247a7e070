"""Pictures of horizontal and vertical sections through predicted scenes, in which a bent wall is a bent line.

The horizontal section shows the points of the middle fifth of the rows, at about the height of the camera, from above;
the vertical one those of the middle fifth of the columns, straight ahead, from the side. Floor, ceiling and near walls
would hide them in a view of all points.
"""

import torch
from torch import Tensor

from geometry.alignment import median_scale
from geometry.camera import unproject

BACKGROUND_GREY = 0.12
TRUTH_COLOUR = (0.30, 0.72, 0.35)
PREDICTION_COLOUR = (1.0, 0.60, 0.10)
CAMERA_COLOUR = (1.0, 1.0, 1.0)

_MARGIN = 0.06  # of the picture, at each side


def cloud_sections(
    depth: Tensor,
    K: Tensor,
    *,
    truth: Tensor | None = None,
    mask: Tensor | None = None,
    size: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Pictures of the horizontal and the vertical section of each predicted cloud, over those of the ground truth.

    A prediction is aligned to the ground truth by the ratio of medians, as for the shape metrics. The region that the
    pictures of an image show is that of its ground truth, for any prediction, so that predictions of different networks
    or times can be compared. Without ground truth it is that of the prediction.

    Args:
        depth: float ``(B, 1, H, W)``, metres or any unit; depth that is not positive and finite is not drawn.
        K: float ``(B, 3, 3)``, pixels, corner convention.
        truth: float ``(B, 1, H, W)``, metres, or None.
        mask: bool ``(B, 1, H, W)``, pixels with ground truth; None takes every positive depth.
        size: Rows and columns of the pictures; None takes those of the depth.

    Returns:
        The view from above (x to the right, z upwards) and from the left (z to the right, y downwards), each float32
        ``(B, 3, h, w)``, RGB in [0, 1]: ground truth green, prediction orange, the camera a white spot.

    Raises:
        ValueError: If shapes do not fit or a size is below 1.
    """
    if depth.ndim != 4 or depth.shape[1] != 1 or any(m is not None and m.shape != depth.shape for m in (truth, mask)):
        raise ValueError(
            f"depth, truth and mask have the shapes "
            f"{', '.join(str(None if m is None else tuple(m.shape)) for m in (depth, truth, mask))}, "
            "but all that are given must be the same (B, 1, H, W)"
        )
    height, width = depth.shape[-2:] if size is None else size
    if min(height, width) < 1:
        raise ValueError(f"size is {(height, width)}, but both must be at least 1")
    depth, K = depth.detach().float(), K.float()
    drawn = depth.isfinite() & (depth > 0)
    depth = torch.where(drawn, depth, 0.0)
    clouds = [(depth, drawn, PREDICTION_COLOUR)]
    if truth is not None:
        mask = truth > 0 if mask is None else mask & (truth > 0)
        truth = torch.where(mask, truth.float(), 0.0)
        scale = median_scale(depth, target=truth, mask=mask & drawn)
        clouds = [(truth, mask, TRUTH_COLOUR), (scale.view(-1, 1, 1, 1) * depth, drawn, PREDICTION_COLOUR)]
    pictures = []
    for axes, dim in (((0, 2), 2), ((2, 1), 3)):
        cut = depth.shape[dim] * 2 // 5
        sections = [
            (
                unproject(values, K)[:, list(axes)].narrow(dim, cut, depth.shape[dim] - 2 * cut).flatten(2),
                there.narrow(dim, cut, depth.shape[dim] - 2 * cut).flatten(1),
                colour,
            )
            for values, there, colour in clouds
        ]
        pictures.append(torch.stack([_draw(index, sections, axes, (height, width)) for index in range(len(depth))]))
    return pictures[0], pictures[1]


_Section = tuple[Tensor, Tensor, tuple[float, float, float]]


def _draw(index: int, sections: list[_Section], axes: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """One section of one image, ``(3, h, w)``; the first of the list is drawn first and determines the region shown."""
    height, width = size
    reference = next((s for s in sections if bool(s[1][index].any())), sections[0])
    low, high = _span(reference[0][index][:, reference[1][index]])
    centre = (low + high) / 2
    limits = low.new_tensor([width, height]) * (1 - 2 * _MARGIN)
    scale = (limits / (high - low).clamp(min=1e-6)).amin()
    signs = low.new_tensor([1.0, -1.0 if axes == (0, 2) else 1.0]).unsqueeze(1)  # from above, z points upwards
    middle = low.new_tensor([width / 2, height / 2]).unsqueeze(1)
    picture = low.new_full((3, height * width + 1), BACKGROUND_GREY)
    spot = low.new_tensor([[x, y] for x in (-1, 0, 1) for y in (-1, 0, 1)]).T
    for positions, there, colour in [*((p[index], t[index], c) for p, t, c in sections), (None, None, CAMERA_COLOUR)]:
        at = torch.zeros(2, 1, device=low.device) if positions is None else positions
        pixel = (at - centre.unsqueeze(1)) * scale * signs + middle
        column, row = (pixel if positions is not None else pixel + spot).floor()
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        inside = inside if there is None else inside & there
        place = torch.where(inside, row * width + column, height * width).long()
        picture[:, place] = low.new_tensor(colour).unsqueeze(1)
    return picture[:, :-1].reshape(3, height, width)


def _span(positions: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest position ``(2,)`` of points ``(2, N)`` and the camera, without outliers."""
    if positions.shape[1] == 0:
        return positions.new_full((2,), -1.0), positions.new_full((2,), 1.0)
    sample = positions[:, :: positions.shape[1] // 100_000 + 1]
    low, high = torch.quantile(sample, sample.new_tensor([0.01, 0.99]), dim=1)
    return low.clamp(max=0), high.clamp(min=0)
