"""Shape errors of a predicted scene: Chamfer distance and F-score of its point cloud against the true one.

A prediction is aligned by a *scale only*, the ratio of the medians over the valid pixels of the image. It is the
alignment that :class:`metrics.depth.DepthMetrics` calls ``median``. Aligning the shift as well would hide a distorted
shape, since a constant added to depth bends walls.

With P the aligned points, G the true ones and d(x, S) the distance of x to the nearest point of S:

    cloud_accuracy_m       mean over P of d(p, G)       cloud_completeness_m   mean over G of d(g, P)
    chamfer_m              mean of the two              f_score_5cm            2 p r / (p + r)

where p is the fraction of P with d(p, G) < 5 cm and r the fraction of G with d(g, P) < 5 cm. Only the F-score is better
when higher. Distances are in metres; errors are means over the images that have a valid pixel.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, NotRequired, TypedDict, Unpack

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from geometry.camera import unproject
from geometry.stencils import at_least_float32, fill_outside, masked_mean_per_image
from metrics.image_means import ImageValues, MeanOverImages
from metrics.protocol import DepthProtocol, check_maps

_PAIRS_AT_ONCE = 1 << 24
"""Distances held in memory at a time: 64 MiB in float32."""


class Scene(TypedDict):
    """Ground truth and intrinsics that a prediction is compared with: keyword arguments of all metrics of clouds."""

    target_m: Tensor
    """``(B, 1, H, W)``, metres; arbitrary outside the mask."""
    mask: Tensor
    """bool ``(B, 1, H, W)``, True where depth was measured."""
    K: Tensor
    """True intrinsics ``(B, 3, 3)``, pixels."""
    prediction_K: NotRequired[Tensor | None]
    """Estimated intrinsics with which the prediction is unprojected; None takes ``K``."""


class LimitedScene(Scene):
    """A scene and the range of its targets."""

    min_depth_m: NotRequired[float]
    """Valid targets begin here, metres; 1e-3 without it."""
    max_depth_m: NotRequired[float]
    """Valid targets end here, metres; 10 without it. Predictions are not clamped."""


class ScaledClouds(NamedTuple):
    """The clouds of a batch after the alignment."""

    points: Tensor
    """``(B, 3, H, W)`` in the camera frame, metres, in at least float32; NaN where the prediction is not finite."""
    true_points: Tensor
    """``(B, 3, H, W)``, metres."""
    valid: Tensor
    """bool ``(B, 1, H, W)``, pixels whose points count; the others hold arbitrary finite numbers."""


def scaled_clouds(
    prediction: Tensor,
    *,
    target_m: Tensor,
    mask: Tensor,
    K: Tensor,
    prediction_K: Tensor | None = None,
    min_depth_m: float = 1e-3,
    max_depth_m: float = 10.0,
) -> ScaledClouds:
    """Point clouds of the prediction, aligned by the ratio of medians, and of the ground truth.

    Args:
        prediction: depth of any scale, ``(B, 1, H, W)``; half precision allowed.
        target_m: see :class:`LimitedScene`, as for all others.
        mask: bool ``(B, 1, H, W)``.
        K: ``(B, 3, 3)``.
        prediction_K: ``(B, 3, 3)`` or None.
        min_depth_m: metres.
        max_depth_m: metres.

    Raises:
        ValueError: if a shape, the type of the mask or a depth limit is wrong.
    """
    check_maps(prediction, target_m, mask)
    for camera in (K, K if prediction_K is None else prediction_K):
        if tuple(camera.shape) != (len(mask), 3, 3):
            raise ValueError(f"K has shape {tuple(camera.shape)}, but ({len(mask)}, 3, 3) is needed.")
    protocol = DepthProtocol("median", min_depth_m, max_depth_m, edges=False)
    target_m = at_least_float32(target_m)
    valid = protocol.valid(target_m, mask)
    target_m = fill_outside(target_m, valid, min_depth_m)
    aligned = protocol.align(prediction.detach(), target_m, valid)
    # An infinite point has to stay visible as a NaN: distances between infinite points are undefined.
    aligned = torch.where(aligned.isfinite(), aligned, torch.nan)
    K = K.to(target_m.dtype)
    lifted_with = K if prediction_K is None else prediction_K.to(target_m.dtype)
    return ScaledClouds(unproject(aligned, lifted_with), unproject(target_m, K), valid)


def grid_subset(values: Tensor, max_points: int) -> Tensor:
    """At most ``max_points`` pixels on a regular grid, the same for every image of a size.

    Args:
        values: ``(B, C, H, W)``.
        max_points: at least 1; all pixels are taken where there are no more than this.

    Returns:
        ``(B, C, N)`` in row-major order: the pixels in which the centres of the cells of the grid lie.
    """
    height, width = values.shape[-2:]
    shrink = min(1.0, math.sqrt(max_points / (height * width)))
    n_rows = min(max(1, int(height * shrink)), max_points)
    n_columns = max(1, min(int(width * shrink), max_points // n_rows))
    rows, columns = (
        ((torch.arange(n, device=values.device, dtype=torch.float64) + 0.5) * (size / n)).long()
        for n, size in ((n_rows, height), (n_columns, width))
    )
    return values[..., rows[:, None], columns].flatten(2)


def nearest_distances(points: Tensor, others: Tensor, others_mask: Tensor) -> Tensor:
    """Distance of every point to the nearest one of another cloud: by a k-d tree on a CPU, all pairs on a GPU.

    Args:
        points: ``(B, N, 3)``.
        others: ``(B, M, 3)``.
        others_mask: bool ``(B, M)``, valid points of the other cloud.

    Returns:
        ``(B, N)``; infinite where the other cloud has no valid point, NaN where a valid one is NaN.
    """
    if points.device.type == "cpu":
        clouds = zip(points, others, others_mask, strict=True)
        return torch.stack([_nearest_by_tree(one, other[there]) for one, other, there in clouds])
    return nearest_by_pairs(points, others, others_mask)


def nearest_by_pairs(points: Tensor, others: Tensor, others_mask: Tensor) -> Tensor:
    """:func:`nearest_distances` by comparing all pairs, for devices that have no k-d tree; the same in and out."""
    batch, n_others = others.shape[:2]
    step = max(1, _PAIRS_AT_ONCE // max(1, batch * n_others))
    found = []
    for chunk in points.split(step, dim=1):
        # Differences and not products: |a|^2 - 2 ab + |b|^2 loses a millimetre at ten metres.
        distances = torch.cdist(chunk, others, compute_mode="donot_use_mm_for_euclid_dist")
        found.append(fill_outside(distances, others_mask.unsqueeze(1), float("inf")).amin(dim=2))
    return torch.cat(found, dim=1)


def _nearest_by_tree(points: Tensor, others: Tensor) -> Tensor:
    """:func:`nearest_distances` of one cloud: ``(N, 3)`` to ``(M, 3)`` gives ``(N,)``."""
    if len(others) == 0:
        return points.new_full((len(points),), float("inf"))
    known = points.isfinite().all(dim=1)
    found = points.new_full((len(points),), torch.nan)
    if bool(others.isfinite().all()):  # a tree takes no NaN, and the distance to one is NaN for every point
        distances, _ = cKDTree(others.numpy()).query(points[known].numpy())
        found[known] = torch.from_numpy(np.asarray(distances)).to(found)
    return found


def _check_options(max_points: int, threshold_m: float) -> None:
    if max_points < 1:
        raise ValueError(f"max_points is {max_points}, but it must be at least 1.")
    if not (threshold_m > 0 and math.isfinite(threshold_m)):
        raise ValueError(f"threshold_m is {threshold_m}, but it must be positive and finite.")


def _names(threshold_m: float) -> tuple[str, ...]:
    return "chamfer_m", "cloud_accuracy_m", "cloud_completeness_m", f"f_score_{100 * threshold_m:g}cm"


def cloud_values(clouds: ScaledClouds, *, max_points: int = 4096, threshold_m: float = 0.05) -> dict[str, ImageValues]:
    """The four errors of each image by name, see :func:`point_cloud_errors`."""
    _check_options(max_points, threshold_m)
    points, true_points = (grid_subset(cloud, max_points).mT.contiguous() for cloud in clouds[:2])
    there = grid_subset(clouds.valid, max_points).squeeze(1)
    counted = there.any(dim=1)
    means, shares = [], []
    for cloud, other in ((points, true_points), (true_points, points)):
        distances = nearest_distances(cloud, other, there)
        near = torch.where(distances.isnan(), distances, (distances < threshold_m).to(distances.dtype))
        means.append(masked_mean_per_image(distances.double(), there))
        shares.append(masked_mean_per_image(near.double(), there))
    (accuracy, completeness), (precision, recall) = means, shares
    both = precision + recall
    f_score = torch.where(both == 0, both, 2 * precision * recall / torch.where(both == 0, 1.0, both))
    numbers = ((accuracy + completeness) / 2, accuracy, completeness, f_score)
    return {name: ImageValues(value, counted) for name, value in zip(_names(threshold_m), numbers, strict=True)}


def point_cloud_errors(
    prediction: Tensor, *, max_points: int = 4096, threshold_m: float = 0.05, **scene: Unpack[LimitedScene]
) -> dict[str, Tensor]:
    """Errors of the cloud of each image; :class:`PointCloudErrors` averages them over images.

    Args:
        prediction: depth of any scale, ``(B, 1, H, W)``.
        max_points: see :class:`PointCloudErrors`.
        threshold_m: see :class:`PointCloudErrors`.
        scene: see :class:`LimitedScene`.

    Returns:
        float64 ``(B,)`` by name; NaN for an image without a valid pixel.

    Raises:
        ValueError: if an argument is out of range, or a shape or the type of the mask is wrong.
    """
    numbers = cloud_values(scaled_clouds(prediction, **scene), max_points=max_points, threshold_m=threshold_m)
    return {name: value.or_nan() for name, value in numbers.items()}


class CloudMetric(MeanOverImages):
    """Base of the metrics that compare aligned clouds, as means over images.

    Args:
        names: names of the numbers, in the order of the result.
        min_depth_m: valid targets begin here, metres.
        max_depth_m: valid targets end here, metres.

    Raises:
        ValueError: if a limit is out of range.
    """

    def __init__(self, names: Sequence[str], min_depth_m: float, max_depth_m: float) -> None:
        super().__init__(names)
        self.protocol = DepthProtocol("median", min_depth_m, max_depth_m)

    def clouds(self, prediction: Tensor, **scene: Unpack[Scene]) -> ScaledClouds:
        """Aligned clouds of a batch, see :func:`scaled_clouds`."""
        limits = self.protocol
        return scaled_clouds(prediction, **scene, min_depth_m=limits.min_depth_m, max_depth_m=limits.max_depth_m)


class PointCloudErrors(CloudMetric):
    """Chamfer distance and F-score after a scale-only alignment, accumulated over batches and ranks.

    Args:
        min_depth_m: valid targets begin here, metres.
        max_depth_m: valid targets end here, metres.
        max_points: number of pixels of an image at which the two clouds are compared, on a regular grid that is the
            same for both; time and memory grow with its square. Where points are sparser than ``threshold_m``,
            distances to a surface are overestimated.
        threshold_m: distance below which a point counts as found in the F-score, metres.

    Raises:
        ValueError: if an argument is out of range.
    """

    more_names: tuple[str, ...] = ()
    """Names of what a subclass adds, after those of the clouds."""

    def __init__(
        self,
        min_depth_m: float = 1e-3,
        max_depth_m: float = 10.0,
        max_points: int = 4096,
        threshold_m: float = 0.05,
    ) -> None:
        _check_options(max_points, threshold_m)
        super().__init__((*_names(threshold_m), *self.more_names), min_depth_m, max_depth_m)
        self.max_points, self.threshold_m = max_points, threshold_m

    def update(self, prediction: Tensor, **scene: Unpack[Scene]) -> None:
        """Add a batch: depth of any scale, ``(B, 1, H, W)``, and its :class:`Scene`."""
        clouds = self.clouds(prediction, **scene)
        self.add(cloud_values(clouds, max_points=self.max_points, threshold_m=self.threshold_m))
