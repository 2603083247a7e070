"""The shape errors of predicted scenes, in one metric.

The errors of :mod:`metrics.point_cloud`, :mod:`metrics.lsiv`, :mod:`metrics.plane_curvature` and
:func:`metrics.residual_shift.residual_shift` as means over images. Each is computed after a scale-only alignment by the
ratio of medians, or does not depend on the scale.
"""

from typing import Any, Unpack

from torch import Tensor

from geometry.stencils import at_least_float32
from metrics.image_means import ImageValues
from metrics.lsiv import lsiv_values
from metrics.plane_curvature import PLANE_ERRORS, plane_values
from metrics.point_cloud import PointCloudErrors, Scene, cloud_values
from metrics.residual_shift import residual_shift


class ShapeMetrics(PointCloudErrors):
    """Cloud, LSIV, plane and shift errors of depth maps, accumulated over batches and ranks.

    ``chamfer_m``, ``cloud_accuracy_m``, ``cloud_completeness_m``, ``f_score_5cm``: errors of the cloud. ``lsiv``: with
    one region of all valid pixels. ``plane_rms_rel``, ``plane_bend_deg`` (signed, positive towards the camera),
    ``plane_bend_abs_deg``, ``plane_normal_deg``: curvature and orientation errors of known planes. ``residual_shift``,
    ``residual_shift_abs``: constant that would have to be added to the depth, in median depths, signed and absolute.

    Only the F-score is better when higher; ``plane_bend_deg`` and ``residual_shift`` are best at zero.

    Args:
        min_plane_share: smallest fraction of the image's pixels of a plane that counts, in [0, 1].
        clouds: arguments of :class:`metrics.point_cloud.PointCloudErrors`.

    Raises:
        ValueError: if an argument is out of range.
    """

    more_names = ("lsiv", *PLANE_ERRORS, "residual_shift", "residual_shift_abs")

    def __init__(self, *, min_plane_share: float = 0.01, **clouds: Any) -> None:
        super().__init__(**clouds)
        if not 0 <= min_plane_share <= 1:
            raise ValueError(f"min_plane_share is {min_plane_share}, but it must be between 0 and 1.")
        self.min_plane_share = min_plane_share

    def update(self, prediction: Tensor, *, plane: Tensor | None = None, **scene: Unpack[Scene]) -> None:
        """Add a batch.

        Args:
            prediction: depth of any scale, ``(B, 1, H, W)``; half precision allowed.
            plane: int64 ``(B, H, W)``: true plane ids from 1, 0 = not planar; without it this batch adds nothing to
                the errors of planes.
            scene: see :class:`metrics.point_cloud.Scene`.

        Raises:
            ValueError: if a shape or type is wrong.
        """
        clouds = self.clouds(prediction, **scene)
        numbers = cloud_values(clouds, max_points=self.max_points, threshold_m=self.threshold_m)
        numbers["lsiv"] = lsiv_values(clouds)
        if plane is not None:
            numbers |= plane_values(clouds, plane, min_share=self.min_plane_share)
        valid = self.protocol.valid(at_least_float32(scene["target_m"]), scene["mask"])
        shift = residual_shift(prediction, target_m=scene["target_m"], mask=valid)
        counted = valid.flatten(1).any(dim=1)
        numbers["residual_shift"] = ImageValues(shift, counted)
        numbers["residual_shift_abs"] = ImageValues(shift.abs(), counted)
        self.add(numbers)


def shape_errors(
    prediction: Tensor, *, plane: Tensor | None = None, options: dict[str, Any] | None = None, **scene: Unpack[Scene]
) -> dict[str, Tensor]:
    """Shape errors of one batch.

    Args:
        prediction: see :meth:`ShapeMetrics.update`, as for ``plane`` and ``scene``.
        plane: int64 ``(B, H, W)`` or None.
        options: arguments of :class:`ShapeMetrics`; its defaults without.
        scene: see :class:`metrics.point_cloud.Scene`.

    Returns:
        float64 scalars by name, means over the images of the batch.
    """
    metric = ShapeMetrics(**options or {}).to(prediction.device)
    metric.update(prediction, plane=plane, **scene)
    return metric.compute()
