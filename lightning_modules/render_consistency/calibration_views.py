"""The predictions of a frozen network for rotated views of photos, which calibration compares.

A network that was trained with scale-and-shift ambiguity predicts depth ``D - t``, or disparity that lacks a constant.
When the camera rotates about its centre, z becomes ``z / p_z`` with ``p`` the viewing ray of the source, but a constant
does not transform that way: the depth predicted for the view and the warped depth differ by about ``t sin(phi) x / f``.
The right constant leaves no slope along the rotation; the paper's choice is the constant with the least disagreement.

After "Robust Geometry-Preserving Depth Estimation Using Differentiable Rendering", https://arxiv.org/abs/2309.09724.
Views inside the photo and the signed estimator are this project's.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from geometry.novel_views import inner_zoom, rotation_from_yaw_pitch, turn_direction, zoomed_intrinsics
from geometry.se3 import matrix_product
from renderers.turned_view import turn_view, warp_between_views

Network = Callable[[Tensor, Tensor], Tensor]
"""Maps images ``(B, 3, H, W)`` and intrinsics ``(B, 3, 3)`` to the output ``(B, 1, H, W)``: depth or disparity."""


class Turn(NamedTuple):
    """Yaw and pitch of a camera rotation, radians."""

    yaw: float
    pitch: float


def opposite_turns(yaw_degrees: Sequence[float], pitch_degrees: Sequence[float] = ()) -> list[Turn]:
    """Turns by each angle to both sides, one axis at a time.

    Raises:
        ValueError: If there is none, or an angle is not inside (0, 45).
    """
    if not yaw_degrees and not pitch_degrees:
        raise ValueError("at least one angle of yaw or pitch is needed")
    if any(not 0 < angle < 45 for angle in (*yaw_degrees, *pitch_degrees)):
        raise ValueError(f"angles are inside (0, 45) degrees, not {[*yaw_degrees, *pitch_degrees]}")
    yaws = [Turn(sign * math.radians(angle), 0.0) for angle in yaw_degrees for sign in (1, -1)]
    return yaws + [Turn(0.0, sign * math.radians(angle)) for angle in pitch_degrees for sign in (1, -1)]


class ViewPredictions(NamedTuple):
    """Predictions for V views of N photos, each beside the prediction for its opposite view, warped into it."""

    warped: Tensor
    """``(V, N, 1, H, W)``, the network's output for the opposite view, sampled at the pixels of this one."""
    z_ratio: Tensor
    """``(V, N, 1, H, W)``, ``p_z``: z in the opposite view over z in this one."""
    predicted: Tensor
    """``(V, N, 1, H, W)``, the network's output for this view."""
    visible: Tensor
    """bool ``(V, N, 1, H, W)``, pixels that both views show."""
    regressor: Tensor
    """``(V, N, 1, H, W)``, ``sin(yaw) x / f + sin(pitch) y / f`` of the rotation between the two."""


def turn_regressor(turn: Turn, K_view: Tensor, size: tuple[int, int]) -> Tensor:
    """``sin(yaw) x / f + sin(pitch) y / f`` of a view, in which the effect of a wrong constant is linear.

    Args:
        turn: The turn of the camera.
        K_view: ``(N, 3, 3)``, pixels of the view.
        size: Height and width of the view.

    Returns:
        ``(N, 1, H, W)``.
    """
    yaw, pitch = (K_view.new_full((len(K_view),), angle) for angle in turn)
    return turn_direction(yaw, pitch, K=K_view, size=size)


def rotation_of(turn: Turn, K: Tensor) -> Tensor:
    """Rotation ``(N, 3, 3)`` of the camera for each of the N intrinsics."""
    yaw, pitch = (K.new_full((len(K),), angle) for angle in turn)
    return rotation_from_yaw_pitch(yaw, pitch)


@torch.no_grad()
def predict_views(network: Network, image: Tensor, K: Tensor, turns: Sequence[Turn]) -> ViewPredictions:
    """Predict the output for cameras that rotate about their centre, within the photos.

    Opposite views are compared with each other, not with the photo: both come from one distribution, whereas the photo
    shows more, and a network that was trained on affine ground truth predicts photos with another constant than views.
    All views of a photo have one zoom, the smallest at which none extends beyond the photo. The predictions do not
    depend on the constant that is sought, so one pass serves all of its values.

    Args:
        network: See :data:`Network`.
        image: ``(N, 3, H, W)``, RGB in [0, 1].
        K: ``(N, 3, 3)``, pixels.
        turns: The turns, each followed by its opposite, as :func:`opposite_turns` returns them.

    Raises:
        ValueError: If the turns are not such pairs.
    """
    for turn, opposite in zip(turns[::2], turns[1::2], strict=True):
        if (turn.yaw, turn.pitch) != (-opposite.yaw, -opposite.pitch):
            raise ValueError(f"{turn} is followed by {opposite}, but must be followed by its opposite")
    size = (image.shape[-2], image.shape[-1])
    R = [rotation_of(turn, K) for turn in turns]
    zoom = torch.stack([inner_zoom(K, rotation, height=size[0], width=size[1]) for rotation in R]).amax(dim=0)
    K_view = zoomed_intrinsics(K, zoom.clamp(max=10.0))
    one = torch.ones_like(image[:, :1])
    views = [turn_view(image, one, K=K, K_view=K_view, R_view_source=rotation, size=size) for rotation in R]
    predicted = [network(view.image, K_view) for view in views]
    columns: list[tuple[Tensor, ...]] = []
    for index, (turn, view) in enumerate(zip(turns, views, strict=True)):
        other = index ^ 1
        between = matrix_product(R[index], R[other].transpose(1, 2))
        warped = warp_between_views(
            predicted[other], one, there=views[other].visible, K=K_view, R_view_source=between, size=size
        )
        visible = view.visible & warped.visible
        regressor = turn_regressor(Turn(2 * turn.yaw, 2 * turn.pitch), K_view, size)
        columns.append((warped.image, 1 / warped.depth, predicted[index], visible, regressor))
    return ViewPredictions(*(torch.stack(maps) for maps in zip(*columns, strict=True)))


def concatenate(parts: Sequence[ViewPredictions]) -> ViewPredictions:
    """The predictions of several batches, concatenated along the photos."""
    return ViewPredictions(*(torch.cat(maps, dim=1) for maps in zip(*parts, strict=True)))


def subsample(predictions: ViewPredictions, step: int) -> ViewPredictions:
    """Every ``step``-th row and column, for speed: the curves are means over thousands of pixels."""
    return ViewPredictions(*(maps[..., ::step, ::step] for maps in predictions))
