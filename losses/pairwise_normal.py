"""Pair-wise normal loss (LeReS, Yin et al. 2021, arXiv 2012.09365, eq. 1): angles between surfaces across edges.

It needs metric ground truth with known intrinsics, since angles depend on the shift of the depth and on the camera. As
in LeReS, the prediction is first aligned to the ground truth by least-squares scale and shift, with gradients through
the solution.

Deviations from the released code: the normals are those of ``geometry/normals.py`` (no box filter before; undefined,
instead of zero, where a neighbour is missing), so that validity needs no separate erosion; the number of anchors is
fixed; the image gradient is that of the mean of the channels, not of the red one; a depth discontinuity is a relative
jump, instead of a gradient above a tenth of the image's largest, which a wall seen at an angle has everywhere; images
are averaged over those with pairs that count. LeReS's second form, on triplets of points of known planes, is not
implemented: mixed training data have no plane masks.
"""

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from geometry.alignment import scale_and_shift
from geometry.camera import unproject
from geometry.masks import erode
from geometry.normals import normals_from_points
from geometry.stencils import at_least_float32, fill_outside, masked_mean, masked_mean_per_image
from losses.inputs import prepare
from losses.pixel_pairs import PixelPairs, edge_pairs, join, random_pairs, values_at

STEEP_COSINE = 0.3
"""Below this absolute cosine of the true normals the two pixels of a pair are on different surfaces."""
FLAT_COSINE = 0.95
"""Above it they are on the same one."""
ANCHORS = 1000
"""Edge pixels drawn in each image, once from the edges of the image and once from those of the true normals."""
NEAREST_PX, FARTHEST_PX = 3, 19
"""Distances of the pixels of a pair from the edge, for images of 448 pixels (LeReS)."""
REFERENCE_WIDTH_PX = 448
DEPTH_JUMP = 0.1
"""Relative difference of depth between neighbouring pixels that makes a discontinuity."""


def _aligned(prediction: Tensor, target: Tensor, mask: Tensor, align: bool) -> tuple[Tensor, Tensor]:
    """Prediction and ground truth in float32 with 0 outside the mask, the prediction aligned if wanted."""
    prediction, target = prepare(prediction, target, mask)
    if align:
        scale, shift = scale_and_shift(prediction, target=target, mask=mask)
        prediction = scale.view(-1, 1, 1, 1) * prediction + shift.view(-1, 1, 1, 1)
    return fill_outside(prediction, mask), target


def _absolute_cosine(normals: Tensor, pairs: PixelPairs) -> Tensor:
    """``|n_a . n_b|`` of ``(B, 3, H, W)`` normals at each pair, ``(B, P)``."""
    return (values_at(normals, pairs.first) * values_at(normals, pairs.second)).sum(dim=1).abs()


def pairwise_normal(
    prediction: Tensor,
    *,
    target: Tensor,
    mask: Tensor,
    K: Tensor,
    image: Tensor,
    anchors: int = ANCHORS,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Pair-wise normal loss over pairs across edges and as many random pairs: the term of mixed training.

    Args:
        prediction: ``(B, 1, H, W)``, depth up to scale and shift.
        target: ``(B, 1, H, W)``, depth in metres, positive inside the mask.
        mask: bool ``(B, 1, H, W)``; False all over an image whose depth is not metric or whose intrinsics are unknown.
        K: ``(B, 3, 3)``, pixels.
        image: ``(B, 3, H, W)``, RGB.
        anchors: see :data:`ANCHORS`.
        generator: random generator; None takes torch's default one.

    Returns:
        Scalar between 0 and 3, mean over the images with a pair that counts; without one, a zero that stays in the
        graph.

    Raises:
        ValueError: if a shape is wrong, the mask is not bool, or ``anchors`` is below 1.
    """
    edges = normal_edge_pairs(image, target=target, mask=mask, K=K, anchors=anchors, generator=generator)
    others = random_pairs(mask, edges.first.shape[1], generator=generator)
    return pairwise_normal_edge(prediction, target=target, mask=mask, K=K, edge_pairs=edges, other_pairs=others)


def _continuous(depth: Tensor, mask: Tensor) -> Tensor:
    """Pixels whose measured depths in the 3x3 window differ by at most :data:`DEPTH_JUMP`, bool ``(B, 1, H, W)``."""
    log_depth = fill_outside(depth, mask, 1.0).log()
    largest, negative_smallest = (
        F.max_pool2d(fill_outside(values, mask, float("-inf")), 3, stride=1, padding=1)
        for values in (log_depth, -log_depth)
    )
    return largest + negative_smallest <= math.log1p(DEPTH_JUMP)


@torch.no_grad()
def normal_edge_pairs(
    image: Tensor,
    *,
    target: Tensor,
    mask: Tensor,
    K: Tensor,
    anchors: int = ANCHORS,
    normal_radius: int = 2,
    generator: torch.Generator | None = None,
) -> PixelPairs:
    """Pairs across the edges of an image and of its true normals, away from depth discontinuities (LeReS).

    Args:
        image: ``(B, 3, H, W)``, RGB.
        target: ``(B, 1, H, W)``, depth in metres, positive inside the mask.
        mask: bool ``(B, 1, H, W)``.
        K: ``(B, 3, 3)``, pixels.
        anchors: see :data:`ANCHORS`.
        normal_radius: distance in pixels of the neighbours a normal is computed from.
        generator: random generator; None takes torch's default one.

    Returns:
        ``6 * anchors`` pairs in each image.

    Raises:
        ValueError: if a shape is wrong or ``anchors`` is below 1.
    """
    target = fill_outside(at_least_float32(target), mask)
    normals, defined = normals_from_points(unproject(target, at_least_float32(K)), radius=normal_radius)
    # A normal next to an edge mixes both sides: anchors and pairs keep farther away than the radius at any image size.
    discontinuity = ~erode(_continuous(target, mask), normal_radius + 1)
    nearest = max(NEAREST_PX, normal_radius + 1)
    farthest = max(nearest + 1, round(FARTHEST_PX * image.shape[-1] / REFERENCE_WIDTH_PX))
    draw = partial(edge_pairs, count=anchors, mask=mask, nearest=nearest, farthest=farthest, generator=generator)
    from_image = draw(image, exclude=discontinuity)
    # Normals are 0 where they are undefined, which is not an edge of a surface.
    undefined = ~erode(defined, 1)
    from_normals = draw(normals, exclude=discontinuity | undefined, strongest_channel=True)
    return join(from_image, from_normals)


def pairwise_normal_edge(
    prediction: Tensor,
    *,
    target: Tensor,
    mask: Tensor,
    K: Tensor,
    edge_pairs: PixelPairs,
    other_pairs: PixelPairs | None = None,
    align: bool = True,
    normal_radius: int = 2,
) -> Tensor:
    """Absolute difference of ``|n_a . n_b|`` between prediction and ground truth over pairs of pixels (LeReS, eq. 1).

    The sum of three means over each image: edge pairs whose true normals are nearly orthogonal, edge pairs whose true
    normals are nearly parallel, and random pairs. Edge pairs in between (curved surfaces, noisy normals) do not count.

    Args:
        prediction: ``(B, 1, H, W)``, depth.
        target: ``(B, 1, H, W)``, depth in metres, positive inside the mask.
        mask: bool ``(B, 1, H, W)``.
        K: ``(B, 3, 3)``, pixels.
        edge_pairs: pairs across edges of the image or of the true normals, see :func:`normal_edge_pairs`.
        other_pairs: pairs at random positions; None leaves that mean out.
        align: whether to align the prediction by least-squares scale and shift first.
        normal_radius: distance in pixels of the neighbours a normal is computed from; 2 spans 5 pixels as LeReS does.

    Returns:
        Scalar between 0 and 3, mean over the images with a pair that counts; without one, a zero that stays in the
        graph.

    Raises:
        ValueError: if a shape is wrong or the mask is not bool.
    """
    prediction, target = _aligned(prediction, target, mask, align)
    K = at_least_float32(K)
    normals_p, valid_p = normals_from_points(unproject(prediction, K), radius=normal_radius)
    normals_g, valid_g = normals_from_points(unproject(target, K), radius=normal_radius)
    defined = valid_p & valid_g
    loss = prediction.new_zeros(len(prediction))
    counts = torch.zeros_like(loss, dtype=torch.bool)
    for pairs in (edge_pairs, other_pairs):
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
