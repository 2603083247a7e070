"""Curvature and orientation errors of known planes in a prediction, after a scale-only alignment.

A plane is fitted to the predicted points of each true plane by total least squares: its normal n is the direction of
their smallest variance, oriented towards the camera, and h the height of a point above their mean along n. The true
points give the normal m, the position p of a point in the plane, and the extent L = sqrt(12 v) with their largest
variance v: the length of a uniformly covered strip of that variance.

    plane_rms_rel        sqrt(mean h^2) / L
    plane_bend_deg       k L in degrees, with the curvature k (1 / metres) of h ~ a + b . p - k |p|^2 / 2, least squares
    plane_bend_abs_deg   |k L| in degrees
    plane_normal_deg     angle between the lines of n and m, 0 to 90 degrees

``k`` is the mean of the two curvatures of a uniformly covered square. It is positive where the plane bulges towards the
camera. A constant s added to depth moves the point X of a plane a . X = 1 by s X / z, which is s / (|a| z) along the
normal: it bends the plane towards the camera if s > 0, for any orientation of the plane, and not at all if the plane is
parallel to the image. The mean bend of many planes therefore has the sign of the excess shift. A constant added to
*disparity*, and a wrong focal length, keep planes planar and affect only the normals. Heights are fitted over the true
positions, since noise changes both the height and the position of a predicted point.

Each pixel has the same weight in the fits, and each plane is weighted by its number of pixels in the mean of its image;
results are means over the images that have a plane that is large enough.
"""

import math
from typing import NamedTuple, Unpack

import torch
from torch import Tensor

from metrics.image_means import ImageValues
from metrics.point_cloud import CloudMetric, LimitedScene, ScaledClouds, Scene, scaled_clouds
from metrics.regions import Regions, find_regions

_ROUNDING = 1e-10
"""Fraction of the largest variance below which a variance is due to the rounding of float32 points."""

PLANE_ERRORS = ("plane_rms_rel", "plane_bend_deg", "plane_bend_abs_deg", "plane_normal_deg")
"""Names of the errors, in the order of the result."""

_MIN_PIXELS = 16
"""Smallest number of pixels of a plane at any image size: the fit has four unknowns."""


class PlaneShapes(NamedTuple):
    """Shape of the prediction on each plane of a batch that is large enough; G planes in total."""

    image: Tensor
    """int64 ``(G,)``: its image."""
    ids: Tensor
    """int64 ``(G,)``: its id."""
    n_pixels: Tensor
    """int64 ``(G,)``: its valid pixels."""
    extent_m: Tensor
    """float64 ``(G,)``: extent L of the true plane, metres."""
    rms_m: Tensor
    """float64 ``(G,)``: root mean square distance of the predicted points from their best plane, metres."""
    curvature_per_m: Tensor
    """float64 ``(G,)``: curvature k, 1 / metres, positive where the plane bulges towards the camera."""
    normal_angle: Tensor
    """float64 ``(G,)``: angle between the predicted and the true normal, radians, 0 to pi / 2."""


class _Fits(NamedTuple):
    normals: Tensor  # (G, 3), towards the camera
    axes: Tensor  # (G, 3, 2), the longer one last
    variances: Tensor  # (G, 3), ascending
    centred: Tensor  # (B H W, 3)


def _fit_planes(points: Tensor, regions: Regions) -> _Fits:
    """Total least squares plane of each region; NaN if a point of it is NaN."""
    mean = regions.means(points)
    # Pixels outside all regions may hold any value; their sums are discarded.
    centred = points - regions.at_pixels(mean)
    products = (centred.unsqueeze(2) * centred.unsqueeze(1)).flatten(1)
    covariance = regions.means(products).view(-1, 3, 3)
    known = covariance.isfinite().all(dim=(1, 2))
    # The solver raises an error at a NaN.
    eye = torch.eye(3, dtype=points.dtype, device=points.device)
    variances, vectors = torch.linalg.eigh(torch.where(known.view(-1, 1, 1), covariance, eye))
    variances = torch.where(known.unsqueeze(1), variances.clamp(min=0), torch.nan)
    normals = vectors[..., 0]
    away = (normals * mean).sum(dim=1, keepdim=True) > 0
    return _Fits(torch.where(away, -normals, normals), vectors[..., 1:], variances, centred)


def _curvatures(fits: _Fits, true_fits: _Fits, regions: Regions) -> Tensor:
    """Curvature ``k`` of each region, ``(G,)``, positive towards the camera."""
    height = (fits.centred * regions.at_pixels(fits.normals)).sum(dim=1)
    axes = regions.at_pixels(true_fits.axes.flatten(1)).view(-1, 3, 2)
    position = (true_fits.centred.unsqueeze(2) * axes).sum(dim=1)
    square = position.square().sum(dim=1) / 2
    square = square - regions.at_pixels(regions.means(square.unsqueeze(1))).squeeze(1)
    # Along the principal axes the two coordinates are uncorrelated, so that the linear terms of the regression amount
    # to subtracting from |p|^2 / 2 what each coordinate explains of it.
    columns = (height * square, square.square(), *(v * p for v in (square, height) for p in position.unbind(dim=1)))
    of_height, of_square, *of_axes = regions.means(torch.stack(columns, dim=1)).unbind(dim=1)
    short, long = true_fits.variances[:, 1], true_fits.variances[:, 2]
    for variance, square_on_axis, height_on_axis in ((short, of_axes[0], of_axes[2]), (long, of_axes[1], of_axes[3])):
        slope = torch.where(variance > _ROUNDING * long, square_on_axis / variance, 0.0)  # a row of pixels has one axis
        of_height, of_square = of_height - slope * height_on_axis, of_square - slope * square_on_axis
    return torch.where(of_square > _ROUNDING * long.square(), -of_height / of_square, 0.0)


def _angles(a: Tensor, b: Tensor) -> Tensor:
    """Angle between the lines of unit vectors ``(G, 3)``; an arc cosine would lose digits."""
    return torch.atan2(torch.linalg.cross(a, b).norm(dim=1), (a * b).sum(dim=1).abs())


def plane_shapes(clouds: ScaledClouds, plane: Tensor, *, min_share: float = 0.01) -> PlaneShapes:
    """Shapes of the planes of a batch.

    Args:
        clouds: the aligned clouds.
        plane: int64 ``(B, H, W)``: plane ids from 1, 0 = not planar.
        min_share: smallest fraction of the image's pixels of a plane that counts; only valid pixels are counted.

    Raises:
        ValueError: if ``plane`` has another shape or type, or ``min_share`` is not in [0, 1].
    """
    _check_share(min_share)
    n_pixels = clouds.valid.shape[-2] * clouds.valid.shape[-1]
    regions = find_regions(plane, clouds.valid, min_pixels=max(_MIN_PIXELS, math.ceil(min_share * n_pixels)))
    points, true_points = (cloud.movedim(1, -1).reshape(-1, 3).double() for cloud in clouds[:2])
    fits, true_fits = _fit_planes(points, regions), _fit_planes(true_points, regions)
    unknown = fits.variances[:, 0].isnan()
    return PlaneShapes(
        image=regions.image,
        ids=regions.ids,
        n_pixels=regions.n_pixels,
        extent_m=(12 * true_fits.variances[:, 2]).sqrt(),
        rms_m=fits.variances[:, 0].sqrt(),
        curvature_per_m=_curvatures(fits, true_fits, regions),
        normal_angle=torch.where(unknown, torch.nan, _angles(fits.normals, true_fits.normals)),
    )


def _check_share(min_share: float) -> None:
    if not 0 <= min_share <= 1:
        raise ValueError(f"min_share is {min_share}, but it must be between 0 and 1.")


def plane_values(clouds: ScaledClouds, plane: Tensor, *, min_share: float = 0.01) -> dict[str, ImageValues]:
    """The errors of each image by name, see :func:`plane_errors`."""
    shapes = plane_shapes(clouds, plane, min_share=min_share)
    bend = torch.rad2deg(shapes.curvature_per_m * shapes.extent_m)
    numbers = torch.stack([shapes.rms_m / shapes.extent_m, bend, bend.abs(), torch.rad2deg(shapes.normal_angle)], dim=1)
    weight = shapes.n_pixels.unsqueeze(1).to(numbers.dtype)
    rows = torch.cat([numbers * weight, weight], dim=1)
    *totals, weights = rows.new_zeros(len(plane), rows.shape[1]).index_add(0, shapes.image, rows).unbind(dim=1)
    return {
        name: ImageValues(total / weights.clamp(min=1), weights > 0)
        for name, total in zip(PLANE_ERRORS, totals, strict=True)
    }


def plane_errors(
    prediction: Tensor, *, plane: Tensor, min_share: float = 0.01, **scene: Unpack[LimitedScene]
) -> dict[str, Tensor]:
    """Errors of the planes of each image; :class:`PlaneErrors` averages them over images.

    Args:
        prediction: depth of any scale, ``(B, 1, H, W)``.
        plane: int64 ``(B, H, W)``: true plane ids from 1, 0 = not planar.
        min_share: share of the image's pixels that a plane needs in order to count.
        scene: see :class:`metrics.point_cloud.LimitedScene`.

    Returns:
        float64 ``(B,)`` for each name of :data:`PLANE_ERRORS`; NaN for an image without a plane that counts.

    Raises:
        ValueError: if an argument is out of range, or a shape or type is wrong.
    """
    numbers = plane_values(scaled_clouds(prediction, **scene), plane, min_share=min_share)
    return {name: value.or_nan() for name, value in numbers.items()}


class PlaneErrors(CloudMetric):
    """Curvature and orientation errors of known planes, accumulated over batches and ranks.

    Args:
        min_depth_m: valid targets begin here, metres.
        max_depth_m: valid targets end here, metres.
        min_share: share of the image's pixels that a plane needs in order to count, in [0, 1].

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(self, min_depth_m: float = 1e-3, max_depth_m: float = 10.0, min_share: float = 0.01) -> None:
        _check_share(min_share)
        super().__init__(PLANE_ERRORS, min_depth_m, max_depth_m)
        self.min_share = min_share

    def update(self, prediction: Tensor, *, plane: Tensor, **scene: Unpack[Scene]) -> None:
        """Add a batch; the arguments are those of :func:`plane_errors`, the limits excepted."""
        self.add(plane_values(self.clouds(prediction, **scene), plane, min_share=self.min_share))
