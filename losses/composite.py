"""Depth losses by name, as YAML files select them; a composite is a mapping of these names to weights."""

import inspect
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Protocol

from torch import Tensor

from losses.affine import (
    multi_scale_gradient_matching,
    scale_and_shift_invariant,
    trimmed_scale_and_shift_invariant,
)
from losses.depth import berhu, gradient_l1, l1, mse, rmse, scale_invariant_log
from losses.ilnr import ilnr, multi_scale_gradient_ilnr
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
    "ssi_trimmed": trimmed_scale_and_shift_invariant,
    "ssi_gradient": multi_scale_gradient_matching,
    "ilnr": ilnr,
    "ilnr_gradient": multi_scale_gradient_ilnr,
}
"""Every depth loss by name, with its default constants.

The two ``ilnr`` losses compare the prediction with the *normalised* ground truth of each image, which is negative where
the scene is nearer than its mean. They are meant for each other and for networks whose output may be negative.
"""


LossConstants = Mapping[str, Mapping[str, float | int | str]]
"""Constants of losses by name, e.g. ``{"berhu": {"threshold_fraction": 0.1}, "ssim": {"window_size": 7}}``."""


def _with_constants(name: str, constants: Mapping[str, float | int | str]) -> DepthLoss:
    loss = DEPTH_LOSSES[name]
    known = [p for p in inspect.signature(loss).parameters if p not in {"prediction", "target", "mask"}]
    for constant in constants:
        if constant not in known:
            raise ValueError(
                f"Depth loss '{name}' has no constant '{constant}'; it has {', '.join(known) if known else 'none'}."
            )
    return partial(loss, **constants) if constants else loss  # type: ignore[arg-type]  # checked against its signature


def select(names: Iterable[str], constants: LossConstants | None = None) -> dict[str, DepthLoss]:
    """Look up losses by name.

    Args:
        names: keys of :data:`DEPTH_LOSSES`.
        constants: constants that differ from a loss's own defaults, by loss and name.

    Returns:
        The losses in the order of ``names``.

    Raises:
        ValueError: if a name is unknown, or a constant belongs to no chosen loss; the message lists what is allowed.
    """
    constants = {} if constants is None else constants
    wanted = list(names)
    unknown = [name for name in wanted if name not in DEPTH_LOSSES]
    if unknown:
        raise ValueError(
            f"Unknown depth loss {', '.join(map(repr, unknown))}; allowed are {', '.join(sorted(DEPTH_LOSSES))}."
        )
    idle = [name for name in constants if name not in wanted]
    if idle:
        raise ValueError(f"Constants are given for {', '.join(idle)}, but the chosen losses are {', '.join(wanted)}.")
    return {name: _with_constants(name, constants.get(name, {})) for name in wanted}
