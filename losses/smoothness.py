"""Edge-aware smoothness of a disparity map (Godard et al. 2017, 2019)."""

from torch import Tensor

from geometry.stencils import at_least_float32, forward_differences

MEAN_OFFSET = 1e-7
"""Added to the mean, as in the released code of Monodepth2: the square of a very small mean (1e-30), which the gradient
contains, would be 0."""


def edge_aware_smoothness(disparity: Tensor, *, image: Tensor, normalise: bool = True) -> Tensor:
    """Mean absolute disparity gradient, damped where the image has an edge (Godard et al. 2019, eq. 3).

    ``mean(|dx d*| exp(-|dx I|)) + mean(|dy d*| exp(-|dy I|))`` with ``d* = d / (mean(d) + 1e-7)``, forward
    differences, and image gradients averaged over the channels. Dividing by the mean of each image makes the loss
    invariant to the scale of the disparity, which it would otherwise reduce.

    Args:
        disparity: ``(B, 1, H, W)``, not negative, any unit; may also be depth. At least 2x2 pixels.
        image: ``(B, C, H, W)``, values in [0, 1], without colour jitter; no gradient flows to it.
        normalise: whether to divide by the mean.

    Returns:
        Scalar in at least float32; zero for an image whose disparity is zero everywhere.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if (
        disparity.ndim != 4
        or image.ndim != 4
        or disparity.shape[1] != 1
        or disparity[:, 0].shape != image[:, 0].shape
        or min(disparity.shape[-2:]) < 2
    ):
        raise ValueError(
            f"disparity has the shape {tuple(disparity.shape)} and image {tuple(image.shape)}, but they must be "
            "(B, 1, H, W) and (B, C, H, W) with at least 2x2 pixels."
        )
    disparity, image = at_least_float32(disparity), at_least_float32(image.detach())
    if normalise:
        disparity = disparity / (disparity.mean(dim=(2, 3), keepdim=True) + MEAN_OFFSET)
    differences = zip(forward_differences(disparity), forward_differences(image), strict=True)
    x, y = ((d.abs() * (-i.abs().mean(dim=1, keepdim=True)).exp()).mean() for d, i in differences)
    return x + y
