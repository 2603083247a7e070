"""Surface normals of a point map, from cross products of differences to neighbours."""

import torch
import torch.nn.functional as F
from torch import Tensor

from geometry.stencils import at_least_float32, fill_outside

_MIN_AREA = 1e-12
"""Square metres; the direction of a smaller cross product is determined by rounding."""


def normals_from_points(points: Tensor, *, radius: int = 3) -> tuple[Tensor, Tensor]:
    """Unit normals of the surface through a map of points (StructDepth, section 3.2; GAM-Depth).

    The normalised sum of four cross products of differences to the 8 neighbours at ``radius`` pixels, ``e x s``,
    ``w x n``, ``sw x nw`` and ``ne x se`` (n is up, a smaller row). It points away from the camera: a wall
    perpendicular to the optical axis has ``(0, 0, 1)``. Cross products are written out, because
    ``torch.linalg.cross`` along the channels takes five times as long.

    Args:
        points: ``(B, 3, H, W)`` in the camera frame, metres; z <= 0 means no measurement.
        radius: distance of the neighbours in pixels.

    Returns:
        ``(B, 3, H, W)`` unit normals in at least float32, each at its own pixel, 0 where undefined; and bool
        ``(B, 1, H, W)``, where they are defined: not within ``radius`` of the border, with all nine points measured,
        and with a cross product that is not zero. Elsewhere no gradient flows.

    Raises:
        ValueError: if the shape is wrong, or ``radius`` below 1 or too large for the map.
    """
    if points.ndim != 4 or points.shape[1] != 3:
        raise ValueError(f"points has shape {tuple(points.shape)}, but (B, 3, H, W) is needed.")
    height, width = points.shape[-2:]
    if radius < 1 or min(height, width) <= 2 * radius:
        raise ValueError(
            f"radius is {radius} on a map of {height}x{width}, but it must be at least 1 and {2 * radius + 1} pixels "
            "must fit into the map."
        )
    measured = points[:, 2:] > 0
    points = fill_outside(at_least_float32(points), measured)

    def shifted(image: Tensor, down: int, right: int) -> Tensor:
        top, left = radius * (1 + down), radius * (1 + right)
        return image[..., top : top + height - 2 * radius, left : left + width - 2 * radius]

    centre = shifted(points, 0, 0)
    whole = shifted(measured, 0, 0)
    pairs = []
    # (down, right) of east and south, west and north, south-west and north-west, north-east and south-east.
    for first, second in (((0, 1), (1, 0)), ((0, -1), (-1, 0)), ((1, -1), (-1, -1)), ((-1, 1), (1, 1))):
        whole = whole & shifted(measured, *first) & shifted(measured, *second)
        u, v = (shifted(points, *offset) - centre for offset in (first, second))
        pairs.append((u.unbind(dim=1), v.unbind(dim=1)))

    def component(i: int, j: int) -> Tensor:
        total = torch.zeros_like(centre[:, 0])
        for u, v in pairs:
            total = torch.addcmul(torch.addcmul(total, u[i], v[j]), u[j], v[i], value=-1)
        return total

    normal = torch.stack([component(1, 2), component(2, 0), component(0, 1)], dim=1)

    # Scaling by a constant does not change the direction or its gradient, and keeps the square from over- or underflow.
    area = normal.detach().abs().amax(dim=1, keepdim=True)
    defined = whole & (area > _MIN_AREA)
    normal = fill_outside(normal, defined) / fill_outside(area, defined, 1.0)
    square = fill_outside(normal.square().sum(dim=1, keepdim=True), defined, 1.0)
    border = (radius,) * 4
    return F.pad(normal * square.rsqrt(), border), F.pad(defined, border)
