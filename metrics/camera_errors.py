"""Errors of calibration results: the focal length, and the shift of the depth of a network.

    focal_rel         |f - f*| / f*, without a unit            focal_fov_deg    |FOV - FOV*|, degrees
    shift_rel         |s - s*| / med, in median depths         residual_shift   t / med, in median depths, signed

Focal errors and ``shift_rel`` are reported as medians over images, since single images (of a flat wall, for instance)
cannot be calibrated and have arbitrarily large errors.
"""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from geometry.alignment import scale_and_shift
from geometry.stencils import masked_median_per_image

FOCAL_ERRORS = ("focal_rel", "focal_fov_deg")
"""Names of the errors of the focal length."""


def _check_same(named: dict[str, Tensor]) -> None:
    shapes = {name: tuple(value.shape) for name, value in named.items()}
    if any(len(shape) != 1 for shape in shapes.values()) or len(set(shapes.values())) > 1:
        described = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"The shapes are {described}, but all must be the same (B,).")


def focal_errors(focal_px: Tensor, *, true_focal_px: Tensor, width_px: int) -> dict[str, Tensor]:
    """Errors of the focal length of each image.

    Args:
        focal_px: ``(B,)``, pixels, positive.
        true_focal_px: ``(B,)``, pixels, positive.
        width_px: columns of the image, for the horizontal field of view.

    Returns:
        float64 ``(B,)`` for each name of :data:`FOCAL_ERRORS`.

    Raises:
        ValueError: if the shapes differ or ``width_px`` is not positive.
    """
    _check_same({"focal_px": focal_px, "true_focal_px": true_focal_px})
    if width_px <= 0:
        raise ValueError(f"width_px is {width_px}, but it must be positive.")
    focal, true_focal = focal_px.detach().double(), true_focal_px.double()
    angle, true_angle = (2 * torch.atan(width_px / (2 * f)) for f in (focal, true_focal))
    errors = ((focal - true_focal).abs() / true_focal, torch.rad2deg((angle - true_angle).abs()))
    return dict(zip(FOCAL_ERRORS, errors, strict=True))


def shift_errors(shift: Tensor, *, true_shift: Tensor, median_depth: Tensor) -> Tensor:
    """Error of a shift of depth, in median depths.

    Args:
        shift: ``(B,)``, in the unit of the depth to which it is added.
        true_shift: ``(B,)``, same unit.
        median_depth: ``(B,)``, median of the true depth in that unit, positive.

    Returns:
        float64 ``(B,)``: ``|shift - true_shift| / median_depth``.

    Raises:
        ValueError: if the shapes differ.
    """
    _check_same({"shift": shift, "true_shift": true_shift, "median_depth": median_depth})
    return (shift.detach().double() - true_shift.double()).abs() / median_depth.double()


def residual_shift(prediction: Tensor, *, target_m: Tensor, mask: Tensor) -> Tensor:
    """Shift ``t`` of the least-squares fit ``s * prediction + t`` to the ground truth of each image, in median depths.

    It is positive if a constant would have to be added to the prediction. Errors of a prediction that are not an affine
    function of the ground truth make s smaller and t larger (regression dilution), so that the mean over images is
    somewhat above zero even for a network without a shift.

    Args:
        prediction: depth of any scale, ``(B, 1, H, W)``.
        target_m: ``(B, 1, H, W)``, metres.
        mask: bool ``(B, 1, H, W)``, with measured, positive depth.

    Returns:
        float64 ``(B,)``: ``t`` in units of the median of the ground truth; NaN where the mask is empty.
    """
    _, shift = scale_and_shift(prediction.detach().double(), target=target_m.double(), mask=mask)
    median = masked_median_per_image(target_m.double(), mask)
    return torch.where(median > 0, shift / torch.where(median > 0, median, 1.0), torch.nan)


class FocalErrors(Metric):
    """Medians over images of the errors of the focal length, over batches and ranks; lower is better."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    focal_rel: list[Tensor]
    focal_fov_deg: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in FOCAL_ERRORS:
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, focal_px: Tensor, *, true_focal_px: Tensor, width_px: int) -> None:
        """Add a batch; the arguments are those of :func:`focal_errors`."""
        for name, values in focal_errors(focal_px, true_focal_px=true_focal_px, width_px=width_px).items():
            getattr(self, name).append(values)

    def compute(self) -> dict[str, Tensor]:
        """Medians by name, float64 scalars; NaN where nothing was added or a value is NaN."""
        return {name: _median(getattr(self, name), self.device) for name in FOCAL_ERRORS}


class ShiftErrors(Metric):
    """Median over images of the error of a shift in median depths, over batches and ranks; lower is better."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    shift_rel: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("shift_rel", [], dist_reduce_fx="cat")

    def update(self, shift: Tensor, *, true_shift: Tensor, median_depth: Tensor) -> None:
        """Add a batch; the arguments are those of :func:`shift_errors`."""
        self.shift_rel.append(shift_errors(shift, true_shift=true_shift, median_depth=median_depth))

    def compute(self) -> dict[str, Tensor]:
        """The median under the name ``shift_rel``, float64 scalar; NaN where nothing was added or a value is NaN."""
        return {"shift_rel": _median(self.shift_rel, self.device)}


def _median(values: list[Tensor] | Tensor, device: torch.device) -> Tensor:
    if len(values) == 0:
        return torch.full((), float("nan"), dtype=torch.float64, device=device)
    # Not torch.median, which takes the lower of two middle values.
    return dim_zero_cat(values).quantile(0.5)
