"""The depth losses that a YAML may name; a composite is a mapping of these names to weights."""

from collections.abc import Iterable
from typing import Protocol

from torch import Tensor

from losses.affine import multi_scale_gradient_matching, scale_and_shift_invariant
from losses.depth import berhu, gradient_l1, l1, mse, rmse, scale_invariant_log
from losses.ssim import ssim_loss


class DepthLoss(Protocol):
    """A loss on depth ``(B, 1, H, W)``; returns a scalar."""

    def __call__(self, prediction: Tensor, *, target: Tensor, mask: Tensor) -> Tensor:
        """Compare a prediction with its target over a bool mask, all ``(B, 1, H, W)``."""
        ...


DEPTH_LOSSES: dict[str, DepthLoss] = {
    "l1": l1,
    "mse": mse,
    "rmse": rmse,
    "berhu": berhu,
    "gradient": gradient_l1,
    "silog": scale_invariant_log,
    "ssim": ssim_loss,
    "ssi": scale_and_shift_invariant,
    "ssi_gradient": multi_scale_gradient_matching,
}
"""Every depth loss by name, with its default constants."""


def select(names: Iterable[str]) -> dict[str, DepthLoss]:
    """Look up losses by name.

    Args:
        names: keys of :data:`DEPTH_LOSSES`.

    Returns:
        The losses in the order of ``names``.

    Raises:
        ValueError: if a name is unknown; the message lists what is allowed.
    """
    wanted = list(names)
    unknown = [name for name in wanted if name not in DEPTH_LOSSES]
    if unknown:
        raise ValueError(
            f"Unknown depth loss {', '.join(map(repr, unknown))}; allowed are {', '.join(sorted(DEPTH_LOSSES))}."
        )
    return {name: DEPTH_LOSSES[name] for name in wanted}
