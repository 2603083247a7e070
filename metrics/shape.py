"""The shape errors of predicted scenes, in one metric.

The errors of :mod:`metrics.point_cloud`, :mod:`metrics.lsiv`, :mod:`metrics.plane_curvature` and
:func:`metrics.residual_shift.residual_shift` as means over images. Each is computed after a scale-only alignment by the
ratio of medians, or does not depend on the scale.
"""

from torch import Tensor

from geometry.stencils import at_least_float32
from metrics.image_means import ImageValues, MeanOverImages
from metrics.lsiv import lsiv_values
from metrics.plane_curvature import PLANE_ERRORS, plane_values
from metrics.point_cloud import PointCloudErrors, cloud_values, scaled_clouds
from metrics.protocol import DepthProtocol
from metrics.residual_shift import residual_shift


class ShapeMetrics(MeanOverImages):
    """Cloud, LSIV, plane and shift errors of depth maps, accumulated over batches and ranks.

    ``chamfer_m``, ``cloud_accuracy_m``, ``cloud_completeness_m``, ``f_score_5cm``: errors of the cloud. ``lsiv``: with
    one region of all valid pixels. ``plane_rms_rel``, ``plane_bend_deg`` (signed, positive towards the camera),
    ``plane_bend_abs_deg``, ``plane_normal_deg``: curvature and orientation errors of known planes. ``residual_shift``,
    ``residual_shift_abs``: constant that would have to be added to the depth, in median depths, signed and absolute.

    Only the F-score is better when higher; ``plane_bend_deg`` and ``residual_shift`` are best at zero.

    Args:
        min_depth_m: valid targets begin here, metres.
        max_depth_m: valid targets end here, metres. Predictions are not clamped.
        max_points: see :class:`metrics.point_cloud.PointCloudErrors`.
        threshold_m: see :class:`metrics.point_cloud.PointCloudErrors`.
        min_plane_share: smallest fraction of the image's pixels of a plane that counts, in [0, 1].

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        min_depth_m: float = 1e-3,
        max_depth_m: float = 10.0,
        max_points: int = 4096,
        threshold_m: float = 0.05,
        min_plane_share: float = 0.01,
    ) -> None:
        clouds = PointCloudErrors(min_depth_m, max_depth_m, max_points, threshold_m)  # checks its arguments
        if not 0 <= min_plane_share <= 1:
            raise ValueError(f"min_plane_share is {min_plane_share}, but it must be between 0 and 1.")
        super().__init__((*clouds.names, "lsiv", *PLANE_ERRORS, "residual_shift", "residual_shift_abs"))
        self.protocol = DepthProtocol("median", min_depth_m, max_depth_m)
        self.max_points, self.threshold_m, self.min_plane_share = max_points, threshold_m, min_plane_share

    def update(
        self,
        prediction: Tensor,
        *,
        target_m: Tensor,
        mask: Tensor,
        K: Tensor,
        plane: Tensor | None = None,
        prediction_K: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Args:
            prediction: depth of any scale, ``(B, 1, H, W)``; half precision allowed.
            target_m: ``(B, 1, H, W)``, metres; arbitrary outside the mask.
            mask: bool ``(B, 1, H, W)``, True where depth was measured.
            K: true intrinsics ``(B, 3, 3)``, pixels.
            plane: int64 ``(B, H, W)``: true plane ids from 1, 0 = not planar; without it this batch adds nothing to
                the errors of planes.
            prediction_K: estimated intrinsics with which the prediction is unprojected; None takes K.

        Raises:
            ValueError: if a shape or type is wrong.
        """
        clouds = scaled_clouds(
            prediction,
            target_m=target_m,
            mask=mask,
            K=K,
            prediction_K=prediction_K,
            min_depth_m=self.protocol.min_depth_m,
            max_depth_m=self.protocol.max_depth_m,
        )
        numbers = cloud_values(clouds, max_points=self.max_points, threshold_m=self.threshold_m)
        numbers["lsiv"] = lsiv_values(clouds)
        if plane is not None:
            numbers |= plane_values(clouds, plane, min_share=self.min_plane_share)
        valid = self.protocol.valid(at_least_float32(target_m), mask)
        shift = residual_shift(prediction, target_m=target_m, mask=valid)
        counted = valid.flatten(1).any(dim=1)
        numbers["residual_shift"] = ImageValues(shift, counted)
        numbers["residual_shift_abs"] = ImageValues(shift.abs(), counted)
        self.add(numbers)


def shape_errors(
    prediction: Tensor,
    *,
    target_m: Tensor,
    mask: Tensor,
    K: Tensor,
    plane: Tensor | None = None,
    prediction_K: Tensor | None = None,
    min_depth_m: float = 1e-3,
    max_depth_m: float = 10.0,
    max_points: int = 4096,
    threshold_m: float = 0.05,
    min_plane_share: float = 0.01,
) -> dict[str, Tensor]:
    """Shape errors of one batch; the arguments are those of :class:`ShapeMetrics` and of its ``update``.

    Returns:
        float64 scalars by name, means over the images of the batch.
    """
    metric = ShapeMetrics(min_depth_m, max_depth_m, max_points, threshold_m, min_plane_share).to(prediction.device)
    metric.update(prediction, target_m=target_m, mask=mask, K=K, plane=plane, prediction_K=prediction_K)
    return metric.compute()
