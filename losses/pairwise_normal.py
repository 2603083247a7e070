"""Pair-wise normal loss (LeReS, Yin et al. 2021, arXiv 2012.09365, eq. 1 and 2): angles across edges, and flat planes.

Both forms need metric truth with a known camera: angles mean nothing while the shift of the depth is unknown. As in
LeReS the prediction is first aligned to the truth by least-squares scale and shift, with gradients through the
solution; ``align=False`` leaves it as it is, which a scale of the prediction does not change, but a shift does.

Deviations from the released code: the normals are those of ``geometry/normals.py`` (no box filter before, undefined
instead of zero where a neighbour is missing) and so validity needs no separate erosion; the number of anchors is fixed;
random triplets of a plane are drawn again at every call; images are averaged over those with something to compare.
Which triplets span a plane is judged by the true points in space; the released code judges by pixel coordinates alone
(divided by half the width), where sides may be parallel that are not so in space, and the reverse. It also drops a
triplet of which any two points are near in x and any two, perhaps others, in y; here it has to be the same two.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from geometry.alignment import scale_and_shift
from geometry.camera import unproject
from geometry.normals import normals_from_points
from geometry.stencils import at_least_float32, fill_outside, masked_mean, masked_mean_per_image
from losses.inputs import prepare
from losses.pixel_pairs import PixelPairs, uniform_numbers, values_at

STEEP_COSINE = 0.3
"""Below this absolute cosine of the true normals the two pixels of a pair lie on different faces."""
FLAT_COSINE = 0.95
"""Above it they lie on one."""
COLLINEAR_COSINE = 0.867
"""Sides of a triplet at an angle of less than 30 degrees span no reliable normal."""
NEAR = 0.007
"""Two points of a triplet nearer than this in x / z and in y / z are too near to each other."""
_FLAT_TRIPLET = 1e-6
"""A predicted triplet whose area is a smaller share of the product of its sides has no direction but rounding's."""


class PixelTriplets(NamedTuple):
    """Triplets of pixels on each plane of each image."""

    pixels: Tensor
    """int64 ``(B, N, T, 3)``, into the flattened ``H * W``."""
    valid: Tensor
    """bool ``(B, N, T)``; the others hold any index inside the image and must not be used."""


def _aligned(prediction: Tensor, target: Tensor, mask: Tensor, align: bool) -> tuple[Tensor, Tensor]:
    """Prediction and truth in float32 with 0 outside the mask, the prediction aligned if wanted."""
    prediction, target = prepare(prediction, target, mask)
    if align:
        scale, shift = scale_and_shift(prediction, target=target, mask=mask)
        prediction = scale.view(-1, 1, 1, 1) * prediction + shift.view(-1, 1, 1, 1)
    return fill_outside(prediction, mask), target


def _absolute_cosine(normals: Tensor, pairs: PixelPairs) -> Tensor:
    """``|n_a . n_b|`` of ``(B, 3, H, W)`` normals at each pair, ``(B, P)``."""
    return (values_at(normals, pairs.first) * values_at(normals, pairs.second)).sum(dim=1).abs()


def pairwise_normal_edge(
    prediction: Tensor,
    *,
    target: Tensor,
    mask: Tensor,
    K: Tensor,
    edge_pairs: PixelPairs,
    random_pairs: PixelPairs | None = None,
    align: bool = True,
    normal_radius: int = 2,
) -> Tensor:
    """Difference of ``|n_a . n_b|`` between prediction and truth over pairs of pixels (LeReS, eq. 1).

    Three means of each image are added: over the edge pairs that lie on different faces, over those that lie on one
    face, and over the random pairs. Pairs in between (a curved surface, a doubtful normal) do not count.

    Args:
        prediction: ``(B, 1, H, W)``, depth.
        target: ``(B, 1, H, W)``, depth in metres, positive inside the mask.
        mask: bool ``(B, 1, H, W)``.
        K: ``(B, 3, 3)``, pixels.
        edge_pairs: pairs across edges of the image or of the true normals (``losses.pixel_pairs.edge_pairs`` with
            distances of 3 to 19 pixels, away from depth edges).
        random_pairs: pairs anywhere; None leaves that mean out.
        align: whether to align by scale and shift first.
        normal_radius: distance in pixels of the neighbours that make a normal; LeReS spans 5 pixels, hence 2.

    Returns:
        Scalar between 0 and 3, mean over the images with a pair that counts; without one, a zero in the graph.

    Raises:
        ValueError: if shapes do not fit or the mask is not bool.
    """
    prediction, target = _aligned(prediction, target, mask, align)
    K = at_least_float32(K)
    normals_p, valid_p = normals_from_points(unproject(prediction, K), radius=normal_radius)
    normals_g, valid_g = normals_from_points(unproject(target, K), radius=normal_radius)
    defined = valid_p & valid_g
    loss = prediction.new_zeros(len(prediction))
    counts = torch.zeros_like(loss, dtype=torch.bool)
    for pairs in (edge_pairs, random_pairs):
        if pairs is None:
            continue
        valid = pairs.valid & (values_at(defined, pairs.first) & values_at(defined, pairs.second)).squeeze(1)
        truth = _absolute_cosine(normals_g, pairs)
        difference = (_absolute_cosine(normals_p, pairs) - truth).abs()
        groups = (truth < STEEP_COSINE, truth > FLAT_COSINE) if pairs is edge_pairs else (torch.ones_like(valid),)
        for group in groups:
            loss = loss + masked_mean_per_image(difference, valid & group)
            counts = counts | (valid & group).any(dim=1)
    return masked_mean(loss, counts)


def plane_triplets(
    planes: Tensor, count: int, *, number_of_planes: int, generator: torch.Generator | None = None
) -> PixelTriplets:
    """Draw triplets uniformly among the pixels of each plane.

    Args:
        planes: int64 ``(B, 1, H, W)``, planes from 1, 0 = none; labels above ``number_of_planes`` count as none.
        count: triplets a plane, at least 1; LeReS draws 5000.
        number_of_planes: ``N``, so that shapes do not depend on what an image shows.
        generator: source of randomness; None takes torch's own.

    Returns:
        ``count`` triplets for each of the ``N`` planes, invalid where an image has no such plane or pixels coincide.

    Raises:
        ValueError: if ``count`` or ``number_of_planes`` is below 1 or ``planes`` is not int64.
    """
    if count < 1 or number_of_planes < 1:
        raise ValueError(f"count is {count} and number_of_planes {number_of_planes}, but both must be at least 1.")
    if planes.dtype is not torch.int64:
        raise ValueError(f"planes are {planes.dtype}, but torch.int64 is needed.")
    labels = planes.flatten(1)
    labels = torch.where((labels > 0) & (labels <= number_of_planes), labels, 0)
    sizes = labels.new_zeros(len(labels), number_of_planes + 1).scatter_add_(1, labels, torch.ones_like(labels))
    # Sorted by plane, the pixels of one follow one another from `start` on.
    order = labels.argsort(dim=1, stable=True)
    start = (sizes.cumsum(dim=1) - sizes)[:, 1:, None, None]
    size = sizes[:, 1:, None, None]
    position = uniform_numbers((len(labels), number_of_planes, count, 3), planes, generator).to(torch.float64)
    rank = (position * size).floor().to(torch.int64)
    index = order.gather(1, (start + rank).clamp(max=labels.shape[1] - 1).flatten(1)).view_as(rank)
    first, second, third = index.unbind(dim=-1)
    distinct = (first != second) & (second != third) & (third != first)
    return PixelTriplets(index, distinct & (size > 0).squeeze(-1))


def _sides(points: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """First corner and the three sides of each triplet, ``(B, 3, N, T)``."""
    corners = values_at(points, index.flatten(1)).unflatten(2, index.shape[1:])
    first, second, third = corners.unbind(dim=-1)
    return first, second - first, third - first, third - second


def _dot(u: Tensor, v: Tensor) -> Tensor:
    return (u * v).sum(dim=1)


def _well_shaped(target_points: Tensor, index: Tensor) -> Tensor:
    """Triplets of the truth that span a plane: bool ``(B, N, T)``.

    No two sides may be nearly parallel in space and no two points near each other in x / z as well as in y / z. The
    released code takes other coordinates and another rule for near points, see the head of the module.
    """
    first, *sides = _sides(target_points, index)
    corners = (first, first + sides[0], first + sides[1])
    x, y = (
        [corner[:, axis] / fill_outside(corner[:, 2], corner[:, 2] > 0, 1.0) for corner in corners] for axis in (0, 1)
    )
    good = torch.ones_like(index[..., 0], dtype=torch.bool)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        product = (_dot(sides[i], sides[i]) * _dot(sides[j], sides[j])).sqrt()
        good = good & (_dot(sides[i], sides[j]).abs() <= COLLINEAR_COSINE * product)
        good = good & ~(((x[i] - x[j]).abs() < NEAR) & ((y[i] - y[j]).abs() < NEAR))
    return good


def _unit(vectors: Tensor, valid: Tensor) -> Tensor:
    """Vectors ``(B, 3, ...)`` of length 1, zero where not valid."""
    # A constant factor does not change the direction and keeps the square from under- and overflow.
    size = vectors.detach().abs().amax(dim=1)
    vectors = fill_outside(vectors, valid.unsqueeze(1)) / fill_outside(size, valid, 1.0).unsqueeze(1)
    return vectors * fill_outside(_dot(vectors, vectors), valid, 1.0).rsqrt().unsqueeze(1)


def pairwise_normal_plane(
    prediction: Tensor, *, target: Tensor, mask: Tensor, K: Tensor, triplets: PixelTriplets, align: bool = True
) -> Tensor:
    """``1 - cos`` between the normals of triplets of points of a plane and their mean normal (LeReS, eq. 2).

    A region that is known to be flat must come out flat, whichever way it faces. Triplets whose true points are nearly
    on one line or very near to each other are left out.

    Args:
        prediction: ``(B, 1, H, W)``, depth.
        target: ``(B, 1, H, W)``, depth in metres, positive inside the mask.
        mask: bool ``(B, 1, H, W)``.
        K: ``(B, 3, 3)``, pixels.
        triplets: see :func:`plane_triplets`; those with a point outside the mask do not count.
        align: whether to align by scale and shift first.

    Returns:
        Scalar between 0 and 2, mean over all triplets that count; without one, a zero in the graph.

    Raises:
        ValueError: if shapes do not fit or the mask is not bool.
    """
    prediction, target = _aligned(prediction, target, mask, align)
    K = at_least_float32(K)
    measured = values_at(mask, triplets.pixels.flatten(1)).squeeze(1).view_as(triplets.pixels).all(dim=-1)
    valid = triplets.valid & measured & _well_shaped(unproject(target, K), triplets.pixels)
    first, u, v, _ = _sides(unproject(prediction, K), triplets.pixels)
    normal = torch.stack(
        [u[:, i] * v[:, j] - u[:, j] * v[:, i] for i, j in ((1, 2), (2, 0), (0, 1))],
        dim=1,
    )
    area, sides = (part.detach() for part in (_dot(normal, normal), _dot(u, u) * _dot(v, v)))
    valid = valid & ~(area <= _FLAT_TRIPLET**2 * sides)  # a NaN has to stay visible
    # All normals of a plane have to point to the same side: away from the camera.
    away = torch.where(_dot(normal, first).detach() < 0, -1.0, 1.0).unsqueeze(1)
    normal = _unit(away * normal, valid)
    total = normal.sum(dim=-1, keepdim=True)
    mean = _unit(total, valid.any(dim=-1, keepdim=True) & (total.detach().abs().amax(dim=1) > 0))
    return masked_mean(1 - _dot(normal, mean), valid)
