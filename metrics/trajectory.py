"""Errors of the camera motion within clips, as a function and as a torchmetrics class.

The motion of a clip is known up to a scale, which is aligned by a least-squares fit of the translations over all frames
of the clip. The errors are those of single steps; for those of a whole trajectory see :mod:`geometry.trajectory`.
"""

import math

import torch
from torch import Tensor
from torchmetrics import Metric

from geometry.se3 import rotation_angle

_SUMS = ("rotation_sum_rad", "n_frames", "translation_error", "translation_length")


def _check(T_frame_target: Tensor, true_T_frame_target: Tensor, counted: Tensor | None) -> None:
    shape = tuple(true_T_frame_target.shape)
    if len(shape) != 4 or shape[2:] != (4, 4) or tuple(T_frame_target.shape) != shape:
        raise ValueError(
            f"T_frame_target and true_T_frame_target have the shapes {tuple(T_frame_target.shape)} and {shape}, but "
            "both must be the same (B, N, 4, 4)."
        )
    if shape[1] < 3 or shape[1] % 2 == 0:
        raise ValueError(f"A clip has {shape[1]} frames, but an odd number of at least 3 is needed.")
    if counted is not None and (tuple(counted.shape) != shape[:1] or counted.dtype is not torch.bool):
        raise ValueError(
            f"counted is {counted.dtype} of shape {tuple(counted.shape)}, but torch.bool of ({shape[0]},) is needed."
        )


def _update(T_frame_target: Tensor, true_T_frame_target: Tensor, counted: Tensor | None) -> Tensor:
    """Contribution of a batch, float64 ``(4,)`` in the order of ``_SUMS``."""
    _check(T_frame_target, true_T_frame_target, counted)
    n_frames = T_frame_target.shape[1]
    # The motion of the target itself is the identity in both and would reduce the means.
    others = [position for position in range(n_frames) if position != n_frames // 2]
    predicted, true = (T[:, others].detach().to(torch.float64) for T in (T_frame_target, true_T_frame_target))
    if counted is not None:
        predicted, true = predicted[counted], true[counted]
    angles = rotation_angle(predicted[..., :3, :3].mT @ true[..., :3, :3])
    t_predicted, t_true = predicted[..., :3, 3], true[..., :3, 3]
    product = (t_predicted * t_true).sum(dim=(1, 2))
    square = t_predicted.square().sum(dim=(1, 2))
    # The scale must not be negative: motion in the opposite direction is an error.
    moves = square != 0  # True for a NaN, which has to stay visible
    scale = torch.where(moves, product / torch.where(moves, square, 1.0), 0.0).clamp(min=0)
    error = (scale.view(-1, 1, 1) * t_predicted - t_true).norm(dim=-1)
    count = torch.tensor(float(angles.numel()), dtype=torch.float64, device=angles.device)
    return torch.stack([angles.sum(), count, error.sum(), t_true.norm(dim=-1).sum()])


def _compute(sums: Tensor) -> dict[str, Tensor]:
    """Named errors from the accumulated sums."""
    rotation_sum_rad, n_frames, error, length = sums.unbind()
    return {"pose_rotation_deg": rotation_sum_rad / n_frames * (180 / math.pi), "pose_translation_rel": error / length}


def pose_errors(
    T_frame_target: Tensor, *, true_T_frame_target: Tensor, counted: Tensor | None = None
) -> dict[str, Tensor]:
    """Errors of one batch; :class:`PoseErrors` accumulates the same over many and documents the arguments.

    Args:
        T_frame_target: predicted, ``(B, N, 4, 4)``, of any scale.
        true_T_frame_target: ``(B, N, 4, 4)``, metres.
        counted: bool ``(B,)``, clips that count; None takes all.

    Returns:
        float64 scalars by name, as :meth:`PoseErrors.compute` gives them.

    Raises:
        ValueError: if a shape or the type of ``counted`` is wrong.
    """
    return _compute(_update(T_frame_target, true_T_frame_target, counted))


class PoseErrors(Metric):
    """Rotation and translation errors of the frames of clips against their target, accumulated over batches and ranks.

    ``pose_rotation_deg`` is the mean angle between predicted and true rotation, degrees. ``pose_translation_rel`` is
    ``sum |s t_predicted - t_true| / sum |t_true|`` over all frames of all clips, with one non-negative least-squares
    scale s for each clip; predicting no motion gives 1. Lower is better for both.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(len(_SUMS), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, T_frame_target: Tensor, *, true_T_frame_target: Tensor, counted: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            T_frame_target: predicted maps of points of the target's camera into each frame's, ``(B, N, 4, 4)`` with an
                odd N; the target is the middle frame, and its entry is ignored. Any scale.
            true_T_frame_target: ground truth of the same shape, metres.
            counted: bool ``(B,)``, clips that count (False for padding samples); None takes all.

        Raises:
            ValueError: if a shape or the type of ``counted`` is wrong.
        """
        self.sums = self.sums + _update(T_frame_target, true_T_frame_target, counted)

    def compute(self) -> dict[str, Tensor]:
        """Errors over everything added so far, float64 scalars; NaN where no clip counted or none moved."""
        return _compute(self.sums)
