"""What a frozen network says of turned views, and which constant its output lacks for that to fit together.

A network that was trained up to scale and shift gives depth ``D - t`` (or disparity that lacks a constant). Turned
about the camera's centre, z becomes ``z / p_z`` with ``p`` the viewing ray of the source, and a constant does not turn
along: the network's depth of the view disagrees with the turned depth by about ``t sin(phi) x / f``. The constant for
which the disagreement has no slope along the turn is the answer; that for which it is smallest, the paper's.

After "Robust Geometry-Preserving Depth Estimation Using Differentiable Rendering", https://arxiv.org/abs/2309.09724;
views inside the photo and the signed estimator are this project's.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from geometry.alignment import least_absolute_scale
from geometry.masks import erode
from geometry.novel_views import inner_zoom, rotation_from_yaw_pitch, turn_about, turn_direction, zoomed_intrinsics
from geometry.se3 import matrix_product
from geometry.stencils import fill_outside, masked_deviation_per_image, masked_mean_per_image, masked_median_per_image
from lightning_modules.render_consistency.shifted_depth import FLOOR_OF_MEDIAN
from losses.consistency import signed_slope
from renderers.point_render import PointRenderer, scene_points
from renderers.turned_view import turn_view, warp_between_views
from structures.choices import Quantity

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


class Answers(NamedTuple):
    """What a network says of V views of N photos."""

    carried: Tensor
    """``(V, N, 1, H, W)``, its output for the opposite view, where this one looks."""
    along: Tensor
    """``(V, N, 1, H, W)``, ``p_z``: z in the opposite view over z in this one."""
    asked: Tensor
    """``(V, N, 1, H, W)``, its output for this view."""
    visible: Tensor
    """bool ``(V, N, 1, H, W)``, shown by both."""
    turn: Tensor
    """``(V, N, 1, H, W)``, ``sin(yaw) x / f + sin(pitch) y / f`` of the turn between the two."""


class Disagreement(NamedTuple):
    """How the two predictions of each view disagree once their scale is aligned; ``(V, N)`` each."""

    slope: Tensor
    """Slope along the turn, in medians of depth; an estimate of the lacking constant with its sign."""
    relative: Tensor
    """Mean of ``|a - b| / (a + b)``, the bounded form."""
    spread: Tensor
    """Mean of ``|a - b|`` over the spread of depth, which no constant changes."""
    compared: Tensor
    """Share of the view's pixels that could be compared: visible, and with a depth in both predictions."""


def turn_map(turn: Turn, K_view: Tensor, size: tuple[int, int]) -> Tensor:
    """``sin(yaw) x / f + sin(pitch) y / f`` of a view, along which a wrong constant shows.

    Args:
        turn: The turn of the camera.
        K_view: ``(N, 3, 3)``, pixels of the view.
        size: Height and width of the view.

    Returns:
        ``(N, 1, H, W)``.
    """
    yaw, pitch = (K_view.new_full((len(K_view),), angle) for angle in turn)
    return turn_direction(yaw, pitch, K=K_view, size=size)


def _rotation(turn: Turn, K: Tensor) -> Tensor:
    yaw, pitch = (K.new_full((len(K),), angle) for angle in turn)
    return rotation_from_yaw_pitch(yaw, pitch)


@torch.no_grad()
def ask(network: Network, image: Tensor, K: Tensor, turns: Sequence[Turn]) -> Answers:
    """Ask a network about what cameras see that turned about their centre, inside the photos.

    Opposite views are compared with each other, not with the photo. They are pictures of one sort, whereas the
    photo shows more: a network that was trained on affine truth gave it another constant than its views. All views of
    a photo have one zoom, the smallest at which none looks beyond the photo. What the network says does not depend on
    any constant: one pass answers for all of them.

    Args:
        network: See :data:`Network`.
        image: ``(N, 3, H, W)``, RGB in [0, 1].
        K: ``(N, 3, 3)``, pixels.
        turns: The turns, each followed by its opposite, as :func:`opposite_turns` gives them.

    Raises:
        ValueError: If the turns are not such pairs.
    """
    for turn, opposite in zip(turns[::2], turns[1::2], strict=True):
        if (turn.yaw, turn.pitch) != (-opposite.yaw, -opposite.pitch):
            raise ValueError(f"{turn} is followed by {opposite}, but has to be by its opposite")
    size = (image.shape[-2], image.shape[-1])
    R = [_rotation(turn, K) for turn in turns]
    zoom = torch.stack([inner_zoom(K, rotation, height=size[0], width=size[1]) for rotation in R]).amax(dim=0)
    K_view = zoomed_intrinsics(K, zoom.clamp(max=10.0))
    one = torch.ones_like(image[:, :1])
    views = [turn_view(image, one, K=K, K_view=K_view, R_view_source=rotation, size=size) for rotation in R]
    asked = [network(view.image, K_view) for view in views]
    columns: list[tuple[Tensor, ...]] = []
    for index, (turn, view) in enumerate(zip(turns, views, strict=True)):
        other = index ^ 1
        between = matrix_product(R[index], R[other].transpose(1, 2))
        carried = warp_between_views(
            asked[other], one, there=views[other].visible, K=K_view, R_view_source=between, size=size
        )
        visible = view.visible & carried.visible
        turn_between = turn_map(Turn(2 * turn.yaw, 2 * turn.pitch), K_view, size)
        columns.append((carried.image, 1 / carried.depth, asked[index], visible, turn_between))
    return Answers(*(torch.stack(maps) for maps in zip(*columns, strict=True)))


def join(parts: Sequence[Answers]) -> Answers:
    """Answers about all photos of several batches."""
    return Answers(*(torch.cat(maps, dim=1) for maps in zip(*parts, strict=True)))


def _to_depth(output: Tensor, shift: Tensor | float, kind: Quantity) -> tuple[Tensor, Tensor]:
    """Depth of shifted output, and where it is one."""
    values = output + shift
    floor = FLOOR_OF_MEDIAN * values.flatten(1).median(dim=1).values.view(-1, 1, 1, 1)
    usable = (values > floor) & (floor > 0)
    values = fill_outside(values, usable, 1.0)
    return (values if kind == "depth" else 1 / values), usable


def compare_depths(asked: Tensor, carried: Tensor, mask: Tensor, turn: Tensor) -> Disagreement:
    """Disagreement of two depths of each image, after aligning the scale of the first.

    Args:
        asked: ``(N, 1, H, W)``, depth that was predicted for a view.
        carried: ``(N, 1, H, W)``, depth that the turned scene has there.
        mask: bool ``(N, 1, H, W)``, where both are positive and seen.
        turn: See :func:`turn_map`.

    Returns:
        The disagreement, ``(N,)`` each; 0 for an image of which nothing is compared.
    """
    scale = least_absolute_scale(asked, target=carried, mask=mask).view(-1, 1, 1, 1)
    residual = fill_outside(scale * asked - carried, mask)
    median = masked_median_per_image(carried, mask)
    unit = fill_outside(median, median > 0, 1.0).view(-1, 1, 1, 1)
    slope = signed_slope(residual / unit, regressor=turn, mask=mask)
    total = fill_outside(scale * asked + carried, mask, 1.0)
    spread = masked_deviation_per_image(carried, mask)
    spread = fill_outside(spread, spread > 0, 1.0)
    relative = masked_mean_per_image(residual.abs() / total, mask)
    spread_error = masked_mean_per_image(residual.abs(), mask) / spread
    return Disagreement(slope, relative, spread_error, mask.float().mean(dim=(1, 2, 3)))


def disagreement(answers: Answers, shift: float | Tensor, *, output: Quantity) -> Disagreement:
    """How far a network disagrees with itself once a constant is added to all its output.

    Args:
        answers: What it said.
        shift: The constant, in the unit of its output: one for all, or ``(N,)``.
        output: Whether it says depth or disparity.
    """
    if isinstance(shift, Tensor):
        shift = shift.view(-1, 1, 1, 1)
    views = []
    for carried, along, asked, visible, turn in zip(*answers, strict=True):
        source, in_front = _to_depth(carried, shift, output)
        again, there = _to_depth(asked, shift, output)
        views.append(compare_depths(again, source / along, visible & in_front & there, turn))
    return Disagreement(*(torch.stack(values) for values in zip(*views, strict=True)))


@torch.no_grad()
def rendered_disagreement(
    network: Network,
    renderer: PointRenderer,
    image: Tensor,
    K: Tensor,
    turns: Sequence[Turn],
    shift: float | Tensor,
    *,
    output: Quantity,
    hole_margin_px: int = 3,
) -> Disagreement:
    """The same with the scene turned about a pivot at its median depth and rendered, as in the paper.

    The picture depends on the constant, so that network and renderer run for each one anew.

    Args:
        network: See :data:`Network`.
        renderer: Draws the points.
        image: ``(N, 3, H, W)``.
        K: ``(N, 3, 3)``.
        turns: The turns, in opposite pairs.
        shift: The constant, one for all or ``(N,)``.
        output: Whether the network says depth or disparity.
        hole_margin_px: Pixels around holes that are not compared.
    """
    if isinstance(shift, Tensor):
        shift = shift.view(-1, 1, 1, 1)
    size = (image.shape[-2], image.shape[-1])
    depth, usable = _to_depth(network(image, K), shift, output)
    median = masked_median_per_image(depth, usable)
    pivot = torch.stack([torch.zeros_like(median), torch.zeros_like(median), median], dim=-1)
    points, kept, spacing = scene_points(fill_outside(depth, usable), K, edge_jump=0.1)
    views = []
    for turn in turns:
        T = turn_about(_rotation(turn, K), pivot=pivot, translation=torch.zeros_like(pivot))
        drawn = renderer(points, image.flatten(2), K=K, T_view_source=T, size=size, mask=kept, spacing_m=spacing)
        picture = torch.where(drawn.visible, drawn.features.clamp(0, 1), 0.5)
        again, there = _to_depth(network(picture, K), shift, output)
        mask = erode(drawn.visible, hole_margin_px) & there
        views.append(compare_depths(again, drawn.depth_m, mask, turn_map(turn, K, size)))
    return Disagreement(*(torch.stack(values) for values in zip(*views, strict=True)))


class Estimate(NamedTuple):
    """An estimate with a 95 % bootstrap interval over images."""

    value: float
    low: float
    high: float
    found: bool
    """False where the curve has no zero (or no minimum) inside the range; the value is then the nearest end."""


def zero_crossing(grid: Tensor, curve: Tensor) -> tuple[float, bool]:
    """Where a sampled curve falls through zero from above, by linear interpolation; the steepest such place.

    A depth that is too large has a negative slope here, so the right constant is where the curve changes from positive
    to negative; without such a place the end of the grid with the smaller absolute value is returned.

    Args:
        grid: ``(G,)``, ascending.
        curve: ``(G,)``.

    Returns:
        The place, and whether there is one.
    """
    falls = (curve[:-1] > 0) & (curve[1:] <= 0)
    if not bool(falls.any()):
        return float(grid[0] if curve[0].abs() < curve[-1].abs() else grid[-1]), False
    # A flat stretch along zero may cross it many times by noise.
    candidates = falls.nonzero().flatten()
    steepest = candidates[(curve[candidates] - curve[candidates + 1]).argmax()]
    left, right = curve[steepest], curve[steepest + 1]
    part = left / (left - right)
    return float(grid[steepest] + part * (grid[steepest + 1] - grid[steepest])), True


def lowest_point(grid: Tensor, curve: Tensor) -> tuple[float, bool]:
    """Where a sampled curve is smallest, refined by a parabola through three samples.

    Args:
        grid: ``(G,)``, ascending.
        curve: ``(G,)``.

    Returns:
        The place, and whether it is inside the range.
    """
    index = int(curve.argmin())
    if index in (0, len(grid) - 1):
        return float(grid[index]), False
    x0, x1, x2 = (float(grid[index + k]) for k in (-1, 0, 1))
    y0, y1, y2 = (float(curve[index + k]) for k in (-1, 0, 1))
    left, right = (x1 - x0) * (y1 - y2), (x1 - x2) * (y1 - y0)
    if left == right:
        return x1, True
    return x1 - 0.5 * ((x1 - x0) * left - (x1 - x2) * right) / (left - right), True


def trimmed_mean(values: Tensor, *, trim: float = 0.1) -> Tensor:
    """Mean over the last dimension without a share of the smallest and of the largest values."""
    drop = int(trim * values.shape[-1])
    ordered = values.sort(dim=-1).values
    return ordered[..., drop : values.shape[-1] - drop].mean(dim=-1)


def bootstrap(
    grid: Tensor,
    curves: Tensor,
    *,
    place: Callable[[Tensor, Tensor], tuple[float, bool]],
    resamples: int = 200,
    seed: int = 0,
) -> Estimate:
    """The place on a curve that is averaged over images, with an interval from resampled images.

    Args:
        grid: ``(G,)``, ascending.
        curves: ``(G, N)``, a curve for each image.
        place: :func:`zero_crossing` or :func:`lowest_point`.
        resamples: Number of bootstrap samples.
        seed: Of their draws.

    Raises:
        ValueError: If a value is not finite or there is no image.
    """
    if curves.shape[-1] == 0 or not bool(curves.isfinite().all()):
        raise ValueError(f"{curves.shape[-1]} images give curves, but at least one is needed and all must be finite")
    value, found = place(grid, trimmed_mean(curves))
    generator = torch.Generator().manual_seed(seed)
    places = []
    for _ in range(resamples):
        chosen = torch.randint(curves.shape[-1], (curves.shape[-1],), generator=generator)
        places.append(place(grid, trimmed_mean(curves[:, chosen]))[0])
    low, high = torch.tensor(places, dtype=torch.float64).quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return Estimate(value, min(low, value), max(high, value), found)


def shift_curves(answers: Answers, shifts: Tensor, *, output: Quantity) -> Disagreement:
    """Disagreement over a grid of constants, mean over the views: ``(G, N)`` each.

    Args:
        answers: What the network said.
        shifts: ``(G,)``, in the unit of its output.
        output: Whether it says depth or disparity.
    """
    rows = [disagreement(answers, float(shift), output=output) for shift in shifts]
    return Disagreement(*(torch.stack([view.mean(dim=0) for view in values]) for values in zip(*rows, strict=True)))


def comparable(grid: Tensor, curves: Disagreement) -> tuple[Tensor, Disagreement]:
    """The constants that can be tried, and the images that can be compared at all of them.

    A constant far below zero puts much of a scene behind the camera. What is left there agrees for lack of anything
    else, and a curve that went down for that would have its minimum at the end of the range. An image is compared where
    at least half of the pixels are that are compared at best; constants at which more than a fifth of the images are
    not are left out, then the images that are not compared at one that is left.

    Args:
        grid: ``(G,)``, ascending.
        curves: ``(G, N)`` each.

    Returns:
        The shorter grid and curves.

    Raises:
        ValueError: If fewer than three constants or no image are left.
    """
    enough = (curves.compared >= 0.5 * curves.compared.amax(dim=0)) & (curves.compared > 0)
    tried = enough.float().mean(dim=1) >= 0.8
    images = enough[tried].all(dim=0)
    if int(tried.sum()) < 3 or not bool(images.any()):
        raise ValueError(
            f"{int(tried.sum())} of {len(grid)} constants leave enough of the images in front of the camera, but at "
            "least three are needed: the network's output is not positive enough"
        )
    return grid[tried], Disagreement(*(values[tried][:, images] for values in curves))


def thin_out(answers: Answers, step: int) -> Answers:
    """Every ``step``-th row and column, for speed: the curves are means over thousands of pixels."""
    return Answers(*(maps[..., ::step, ::step] for maps in answers))
