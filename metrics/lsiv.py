"""Locally scale-invariant variance of points (LSIV; Chen et al. 2020, OASIS): shape errors within regions.

    LSIV = sqrt( sum_S min_(lambda, delta) sum_(u in S) |G_u / sigma_x(G_S) - lambda P_u - (0, 0, delta)|^2 / n )

with the true points G and the predicted ones P of the n pixels of all regions S, and the standard deviation sigma_x of
the true x over a region. It is invariant to the scale and the distance of a region, but not to its proportions: a
constant added to depth moves points along their rays, which no lambda and delta compensate.

The formula divides by the width of a region, so that it is meaningless for one that is seen edge-on, such as a wall
along the line of sight; regions without any width are left out. The minimum has a closed form, and its lambda may have
any sign. The error is computed for each image and averaged over the images that have a region.
"""

from typing import Unpack

import torch
from torch import Tensor

from metrics.image_means import ImageValues
from metrics.point_cloud import CloudMetric, LimitedScene, ScaledClouds, Scene, scaled_clouds
from metrics.regions import find_regions

_NAME = "lsiv"


def lsiv_values(clouds: ScaledClouds, regions: Tensor | None = None, *, min_pixels: int = 10) -> ImageValues:
    """LSIV of each image, see :func:`lsiv`."""
    ids = torch.ones_like(clouds.valid[:, 0], dtype=torch.int64) if regions is None else regions
    found = find_regions(ids, clouds.valid, min_pixels=min_pixels)
    points, true_points = (cloud.movedim(1, -1).reshape(-1, 3).double() for cloud in clouds[:2])
    mean_true = found.means(true_points)
    width = found.means((true_points - found.at_pixels(mean_true))[:, :1].square()).sqrt()
    # Due to rounding, a wall along the line of sight has a width of some float32 steps of its distance.
    extent = found.means(true_points.square().sum(dim=1, keepdim=True)).sqrt()
    has_width = width > 1e-5 * extent
    wanted = true_points * found.at_pixels(1 / torch.where(has_width, width, 1.0))
    # The optimal shift removes the means of z; lambda is then a least-squares factor for all three coordinates.
    centre = torch.tensor([0.0, 0.0, 1.0], dtype=points.dtype, device=points.device)
    points = points - found.at_pixels(found.means(points) * centre)
    wanted = wanted - found.at_pixels(found.means(wanted) * centre)
    products = found.sums(torch.stack([(wanted * points).sum(dim=1), points.square().sum(dim=1)], dim=1))
    product, square = products.unbind(dim=1)
    moves = square != 0  # True for a NaN, which has to stay visible
    factor = torch.where(moves, product / torch.where(moves, square, 1.0), 0.0)
    residual = wanted - found.at_pixels(factor.unsqueeze(1)) * points
    error = torch.where(has_width, found.sums(residual.square().sum(dim=1, keepdim=True)), 0.0)
    count = torch.where(has_width, found.n_pixels.unsqueeze(1), 0).to(error.dtype)
    error, count = found.per_image(torch.cat([error, count], dim=1), len(ids)).unbind(dim=1)
    return ImageValues((error / count.clamp(min=1)).sqrt(), count > 0)


def lsiv(
    prediction: Tensor, *, regions: Tensor | None = None, min_pixels: int = 10, **scene: Unpack[LimitedScene]
) -> Tensor:
    """LSIV of each image; :class:`LSIV` averages it over many.

    Args:
        prediction: depth of any scale, ``(B, 1, H, W)``.
        regions: int64 ``(B, H, W)``, ids from 1, 0 means no region; None makes one region of all valid pixels.
        min_pixels: smallest number of valid pixels of a region that counts.
        scene: see :class:`metrics.point_cloud.LimitedScene`.

    Returns:
        float64 ``(B,)``, without a unit, lower is better; NaN for an image without a region.

    Raises:
        ValueError: if an argument is out of range, or a shape or type is wrong.
    """
    return lsiv_values(scaled_clouds(prediction, **scene), regions, min_pixels=min_pixels).or_nan()


class LSIV(CloudMetric):
    """Mean LSIV over images, accumulated over batches and ranks; the result has the one name ``lsiv``.

    Args:
        min_depth_m: valid targets begin here, metres.
        max_depth_m: valid targets end here, metres.
        min_pixels: smallest number of valid pixels of a region that counts, at least 1.

    Raises:
        ValueError: if an argument is out of range.
    """

    higher_is_better = False

    def __init__(self, min_depth_m: float = 1e-3, max_depth_m: float = 10.0, min_pixels: int = 10) -> None:
        if min_pixels < 1:
            raise ValueError(f"min_pixels is {min_pixels}, but it must be at least 1.")
        super().__init__((_NAME,), min_depth_m, max_depth_m)
        self.min_pixels = min_pixels

    def update(self, prediction: Tensor, *, regions: Tensor | None = None, **scene: Unpack[Scene]) -> None:
        """Add a batch; the arguments are those of :func:`lsiv`, the limits excepted."""
        self.add({_NAME: lsiv_values(self.clouds(prediction, **scene), regions, min_pixels=self.min_pixels)})
