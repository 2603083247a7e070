"""Evaluation protocol of depth errors: depth range, crop, alignment, average and edge thresholds."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.alignment import increasing_scale_and_shift, median_scale
from geometry.stencils import at_least_float32, fill_outside
from structures.choices import Alignment, Average

Crop = tuple[float, float, float, float]

EIGEN_CROP: Crop = (44 / 480, 471 / 480, 40 / 640, 601 / 640)
"""Rows 44:471 and columns 40:601 of the 480x640 images of NYU Depth v2, as fractions (top, bottom, left, right)."""

_ALIGNMENT_SUFFIX = {"none": "", "median": "_median", "least_squares": "_lsq"}
_AVERAGE_SUFFIX = {"image": "_img", "pixel": "_px"}


@dataclass(frozen=True)
class DepthProtocol:
    """The conditions under which depth errors are computed.

    Args:
        alignment: how a prediction is first aligned with the target of its image, over the valid pixels:
            ``none``, by the ratio of ``median``s, or by ``least_squares`` scale and shift, replaced by the ratio of
            means where that scale is not positive (:func:`geometry.alignment.increasing_scale_and_shift`).
        min_depth_m: valid targets begin here, and predictions are clamped to it after the alignment, metres.
        max_depth_m: valid targets end here, and predictions are clamped to it after the alignment, metres.
        crop: fractions ``(top, bottom, left, right)`` of height and width; a pixel is inside if its centre is.
            None keeps all.
        average: whether results are means over images or over pixels.
        edges: whether the edge scores are computed as well.
        edge_jump: relative depth jump between neighbours that makes an edge.
        edge_tolerance_px: distance up to which an edge pixel counts as found in ``edge_f1``, pixels.
        edge_max_distance_px: truncation of the edge distances, pixels.

    Raises:
        ValueError: if a value is out of range; the message names it.
    """

    alignment: Alignment = "none"
    min_depth_m: float = 1e-3
    max_depth_m: float = 10.0
    crop: Crop | None = None
    average: Average = "image"
    edges: bool = True
    edge_jump: float = 0.1
    edge_tolerance_px: float = 1.0
    edge_max_distance_px: float = 10.0

    def __post_init__(self) -> None:
        if self.alignment not in _ALIGNMENT_SUFFIX:
            raise ValueError(f"alignment is {self.alignment!r}, but it must be one of {', '.join(_ALIGNMENT_SUFFIX)}.")
        if self.average not in _AVERAGE_SUFFIX:
            raise ValueError(f"average is {self.average!r}, but it must be one of {', '.join(_AVERAGE_SUFFIX)}.")
        if not 0 < self.min_depth_m < self.max_depth_m:
            raise ValueError(
                f"The depth range is {self.min_depth_m} to {self.max_depth_m} m, but 0 < min_depth_m < max_depth_m "
                "is needed."
            )
        for name in ("edge_jump", "edge_tolerance_px", "edge_max_distance_px"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but it must be positive.")
        if self.crop is not None:
            top, bottom, left, right = self.crop
            if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
                raise ValueError(
                    f"crop is {self.crop}, but (top, bottom, left, right) must be fractions with 0 <= top < bottom "
                    "<= 1 and 0 <= left < right <= 1."
                )

    @property
    def suffix(self) -> str:
        """Suffix of the name of every metric, such as ``_img_median``."""
        return _AVERAGE_SUFFIX[self.average] + _ALIGNMENT_SUFFIX[self.alignment]

    def valid(self, target_m: Tensor, mask: Tensor) -> Tensor:
        """Pixels that are measured, inside the depth range and inside the crop.

        Args:
            target_m: ``(B, 1, H, W)``, metres.
            mask: bool ``(B, 1, H, W)``.

        Returns:
            Bool ``(B, 1, H, W)``.
        """
        valid = mask & (target_m >= self.min_depth_m) & (target_m <= self.max_depth_m)
        if self.crop is None:
            return valid
        top, bottom, left, right = self.crop
        height, width = mask.shape[-2:]
        # In float64, so that 44 / 480 * 480 is on the same side of a pixel centre as 44.
        rows = (torch.arange(height, device=mask.device, dtype=torch.float64) + 0.5) / height
        columns = (torch.arange(width, device=mask.device, dtype=torch.float64) + 0.5) / width
        inside_rows = (rows >= top) & (rows < bottom)
        inside_columns = (columns >= left) & (columns < right)
        return valid & inside_rows[:, None] & inside_columns[None, :]

    def align(self, prediction_m: Tensor, target_m: Tensor, valid: Tensor) -> Tensor:
        """Prediction aligned to the target of each image, without clamping.

        Args:
            prediction_m: ``(B, 1, H, W)``.
            target_m: ``(B, 1, H, W)``, metres.
            valid: bool ``(B, 1, H, W)``, over which the alignment is fitted.

        Returns:
            ``(B, 1, H, W)`` in at least float32, metres; ``min_depth_m`` outside ``valid``.
        """
        prediction_m = fill_outside(at_least_float32(prediction_m), valid, self.min_depth_m)
        if self.alignment == "none":
            return prediction_m
        if self.alignment == "median":
            scale = median_scale(prediction_m, target=target_m, mask=valid)
            prediction_m = scale.view(-1, 1, 1, 1) * prediction_m
        else:
            scale, shift = increasing_scale_and_shift(prediction_m, target=target_m, mask=valid)
            prediction_m = scale.view(-1, 1, 1, 1) * prediction_m + shift.view(-1, 1, 1, 1)
        return fill_outside(prediction_m, valid, self.min_depth_m)


def check_maps(prediction: Tensor, target_m: Tensor, mask: Tensor) -> None:
    """Refuse maps that cannot be compared.

    Args:
        prediction: depth, ``(B, 1, H, W)``.
        target_m: ``(B, 1, H, W)``.
        mask: bool ``(B, 1, H, W)``.

    Raises:
        ValueError: if a shape is another, or the mask is not bool.
    """
    shape = tuple(target_m.shape)
    if len(shape) != 4 or shape[1] != 1 or tuple(prediction.shape) != shape or tuple(mask.shape) != shape:
        raise ValueError(
            f"prediction, target_m and mask have the shapes {tuple(prediction.shape)}, {shape} and "
            f"{tuple(mask.shape)}, but all three must be the same (B, 1, H, W)."
        )
    if mask.dtype is not torch.bool:
        raise ValueError(f"The mask has type {mask.dtype}, but torch.bool is needed.")
