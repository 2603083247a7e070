"""Dice loss of masks (Milletari et al. 2016, https://arxiv.org/abs/1606.04797, with squares in the denominator)."""

from torch import Tensor

from geometry.stencils import at_least_float32

SMOOTHING = 1e-5
"""Added to the denominator, as in CondInst: two empty masks have the loss 1."""


def dice_loss(x: Tensor, *, target: Tensor) -> Tensor:
    """``1 - 2 sum(x g) / (sum(x^2) + sum(g^2) + 1e-5)`` of each instance (CondInst, https://arxiv.org/abs/2003.05664).

    Args:
        x: ``(N, ...)``, probabilities in [0, 1].
        target: the shape of ``x``, bool or in [0, 1].

    Returns:
        ``(N,)`` in [0, 1], in at least float32.

    Raises:
        ValueError: if the shapes differ.
    """
    if x.ndim < 1 or x.shape != target.shape:
        raise ValueError(f"x and target have the shapes {tuple(x.shape)} and {tuple(target.shape)}, but need the same.")
    x = at_least_float32(x).flatten(1)
    target = target.to(x.dtype).flatten(1)
    overlap = (x * target).sum(dim=1)
    return 1 - 2 * overlap / (x.square().sum(dim=1) + target.square().sum(dim=1) + SMOOTHING)
