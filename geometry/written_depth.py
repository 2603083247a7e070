"""Depth from the values of networks and files: in a unit, up to scale, or inverse depth."""

import torch
from torch import Tensor

MIN_INVERSE_FRACTION = 1e-3
"""Smallest inverse depth, as a fraction of the largest in its image; smaller values are clamped."""


def depth_from_inverse(inverse: Tensor, *, common_unit: bool = False) -> Tensor:
    """Relative depth from relative inverse depth.

    Args:
        inverse: (B, 1, H, W), not negative, larger is nearer.
        common_unit: whether depth is ``1 / inverse``, in one unit for all images, instead of relative to each image.

    Returns:
        (B, 1, H, W), from 1 where an image is nearest to 1 / `MIN_INVERSE_FRACTION` (times the inverse of its largest
        value in a common unit); 0 (no measurement) everywhere in an image without a positive value.
    """
    largest = inverse.amax(dim=(1, 2, 3), keepdim=True)
    something = largest > 0
    unit = torch.where(something, largest, 1)
    depth = 1 / (inverse / unit).clamp(min=MIN_INVERSE_FRACTION)
    return torch.where(something, depth / unit if common_unit else depth, 0)


def depth_from_values(
    values: Tensor, *, units_per_metre: float | None, inverse: bool = False, common_unit: bool = False
) -> Tensor:
    """Depth from the values of a file or a network; values that cannot be a depth become 0, no measurement.

    With a unit u, a value v is v / u metres, or of inverse depth u / v metres; values that are not positive are
    unknown. Without a unit, depth is returned unchanged, and relative inverse depth is inverted by
    :func:`depth_from_inverse`, where zero and negative values are not missing but the farthest depth.

    Args:
        values: float (B, 1, H, W).
        units_per_metre: u > 0: 1000 for millimetres, or for inverse depth of 1 / (1000 m). None if depth is relative.
        inverse: whether larger is nearer.
        common_unit: see :func:`depth_from_inverse`.

    Returns:
        float32 (B, 1, H, W), not negative, finite; 0 also where a value is NaN or infinite.

    Raises:
        ValueError: another shape, or a unit that is not positive.
    """
    if values.ndim != 4 or values.shape[1] != 1:
        raise ValueError(f"the values have the shape {tuple(values.shape)}, but (B, 1, H, W) is needed")
    if units_per_metre is not None and not 0 < units_per_metre < float("inf"):
        raise ValueError(f"there are {units_per_metre:g} units in a metre, but a positive number is needed")
    values = values.float()
    known = torch.isfinite(values)
    if inverse and units_per_metre is None:
        depth = depth_from_inverse(values.masked_fill(~known, 0).clamp(min=0), common_unit=common_unit)
    else:
        known = known & (values > 0)
        unit = 1.0 if units_per_metre is None else units_per_metre
        positive = values.masked_fill(~known, 1)
        depth = unit / positive if inverse else positive / unit
    return depth.masked_fill(~known | ~torch.isfinite(depth), 0)
