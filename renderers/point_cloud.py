"""Coloured point clouds from an image with depth, and pictures of point clouds."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from geometry.camera import unproject

BACKGROUND_GREY = 0.12
"""Background grey level of :func:`side_view`."""


def depth_edges(depth: Tensor, *, max_jump: float, mask: Tensor | None = None) -> Tensor:
    """Pixels at a depth edge: a relative depth difference to a 4-neighbour above a threshold.

    Networks blur the edges of objects, and the points of the blurred pixels lie between the surfaces (flying pixels).

    Args:
        depth: float ``(B, 1, H, W)``, metres.
        max_jump: Largest relative jump ``far / near - 1`` that is still a surface, > 0.
        mask: bool ``(B, 1, H, W)``, pixels with depth; a jump to a pixel without depth is not an edge.

    Returns:
        bool ``(B, 1, H, W)``, True on both sides of an edge.

    Raises:
        ValueError: If ``max_jump`` is not positive.
    """
    if not max_jump > 0:
        raise ValueError(f"max_jump is {max_jump}, but must be > 0")
    valid = depth > 0 if mask is None else mask & (depth > 0)
    log_depth = torch.where(valid, depth, torch.ones_like(depth)).log()
    edges = torch.zeros_like(valid)
    for dim in (-2, -1):
        size = depth.shape[dim]
        jump = log_depth.diff(dim=dim).abs() > math.log1p(max_jump)
        jump &= valid.narrow(dim, 0, size - 1) & valid.narrow(dim, 1, size - 1)
        # A jump between pixels i and i + 1 marks both.
        ahead, behind = ((0, 0, 0, 1), (0, 0, 1, 0)) if dim == -2 else ((0, 1), (1, 0))
        edges = edges | F.pad(jump, ahead) | F.pad(jump, behind)
    return edges


def point_cloud(
    image: Tensor,
    depth: Tensor,
    K: Tensor,
    *,
    mask: Tensor | None = None,
    max_points: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Coloured point cloud of one image, one point per pixel with depth, in row-major order.

    Args:
        image: float ``(3, H, W)``, RGB in [0, 1].
        depth: float ``(1, H, W)``, metres; pixels with depth <= 0 give no point.
        K: float ``(3, 3)``, pixels, corner convention.
        mask: bool ``(1, H, W)``, pixels to take; None takes all.
        max_points: Largest number of points, reached by skipping rows and columns evenly; None keeps all.

    Returns:
        Points float32 ``(N, 3)`` in the camera frame, metres, and their colours float32 ``(N, 3)``, RGB in [0, 1].

    Raises:
        ValueError: If shapes do not fit or ``max_points`` is below 1.
    """
    if image.ndim != 3 or depth.shape != (1, *image.shape[1:]):
        raise ValueError(
            f"image has shape {tuple(image.shape)} and depth {tuple(depth.shape)}, "
            "but (3, H, W) and (1, H, W) are needed"
        )
    if max_points is not None and max_points < 1:
        raise ValueError(f"max_points is {max_points}, but must be at least 1")
    valid = depth[0] > 0 if mask is None else (mask & (depth > 0))[0]
    points = unproject(depth[None].float(), K[None].float())[0]
    if max_points is not None:
        step = math.ceil(math.sqrt(max(1, int(valid.sum())) / max_points))
        while int(valid[::step, ::step].sum()) > max_points:
            step += 1
        image, points, valid = image[:, ::step, ::step], points[:, ::step, ::step], valid[::step, ::step]
    return points[:, valid].T.contiguous(), image.float()[:, valid].T.contiguous()


def side_view(
    points: Tensor,
    colours: Tensor,
    *,
    height: int = 480,
    width: int = 640,
    yaw: float = math.radians(50),
    pitch: float = math.radians(20),
    point_size: int = 2,
) -> Tensor:
    """Orthographic picture of a cloud from any direction.

    With ``yaw = pitch = 0`` the viewing direction is the camera's z axis; with ``yaw = pi / 2`` it is +x, so that depth
    increases from right to left; with ``pitch = pi / 2`` it is down, and depth increases upwards.

    Args:
        points: float ``(N, 3)``, x right, y down, z forward, metres.
        colours: float ``(N, 3)``, RGB in [0, 1].
        height: Rows of the picture.
        width: Columns of the picture.
        yaw: Turn about the vertical axis, radians.
        pitch: Tilt from above, radians.
        point_size: Side of the square of a point, pixels.

    Returns:
        float32 ``(3, height, width)``, RGB in [0, 1]; the central 98 % of the points fill the picture up to a margin.

    Raises:
        ValueError: If shapes do not fit or a size is below 1.
    """
    if points.ndim != 2 or points.shape[1] != 3 or colours.shape != points.shape:
        raise ValueError(
            f"points have shape {tuple(points.shape)} and colours {tuple(colours.shape)}, but both must be (N, 3)"
        )
    if min(height, width, point_size) < 1:
        raise ValueError(f"height={height}, width={width} and point_size={point_size} must be at least 1")
    picture = torch.full((3, height * width), BACKGROUND_GREY, device=points.device)
    if len(points) == 0:
        return picture.view(3, height, width)
    x, y, z = _turn(points.float(), yaw, pitch).unbind(dim=1)

    # The view is fitted to the percentiles of the cloud, so that outliers do not determine the scale.
    low_x, high_x = _span(x)
    low_y, high_y = _span(y)
    scale = 0.92 * min(width / max(high_x - low_x, 1e-6), height / max(high_y - low_y, 1e-6))
    # Top-left corner of a point's square, in a buffer with a border for squares that begin outside the picture.
    rim = point_size - 1
    column = ((x - (low_x + high_x) / 2) * scale + width / 2 - rim / 2).floor().long() + rim
    row = ((y - (low_y + high_y) / 2) * scale + height / 2 - rim / 2).floor().long() + rim
    inside = (row >= 0) & (row < height + rim) & (column >= 0) & (column < width + rim)
    pixel = torch.where(inside, row * (width + rim) + column, (height + rim) * (width + rim))

    # z-buffer of ranks instead of depths: ranks are unique, so the result does not depend on the order of writes.
    order = z.argsort(stable=True)
    nearest = torch.full(((height + rim) * (width + rim) + 1,), len(points), dtype=torch.long, device=points.device)
    ranks = torch.arange(len(order), device=order.device)
    nearest.scatter_reduce_(0, pixel[order], ranks, reduce="amin")
    # A square extends to the right of and below its corner: each pixel takes the nearest of the squares that cover it.
    corners = nearest[:-1].view(1, 1, height + rim, width + rim).double()
    nearest = -F.max_pool2d(-corners, kernel_size=point_size, stride=1).long().flatten()
    hit = nearest < len(points)
    picture[:, hit] = colours.float()[order[nearest[hit]]].T
    return picture.view(3, height, width)


def _turn(points: Tensor, yaw: float, pitch: float) -> Tensor:
    """Coordinates ``(N, 3)`` in a camera turned by yaw, then pitch."""
    x, y, z = points.unbind(dim=1)
    x, z = math.cos(yaw) * x - math.sin(yaw) * z, math.sin(yaw) * x + math.cos(yaw) * z
    y, z = math.cos(pitch) * y - math.sin(pitch) * z, math.sin(pitch) * y + math.cos(pitch) * z
    return torch.stack([x, y, z], dim=1)


def _span(values: Tensor) -> tuple[float, float]:
    """1st and 99th percentile, taken from at most 100,000 values."""
    sample = values[:: len(values) // 100_000 + 1]
    low, high = torch.quantile(sample, sample.new_tensor([0.01, 0.99])).tolist()
    return low, high
