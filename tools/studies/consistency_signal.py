"""Consistency error of an oracle over depth shifts and focal lengths, with exact ground truth.

``python -m tools.studies.consistency_signal --out signal/ [--data experiments/data/rooms.yaml]``

An oracle replaces the network: it carries the true 3-D position of each point through the renderer and predicts its
true depth in the new view, plus a shift. The study prints the disagreement (after scale alignment) over the shift at
the true focal length, over the focal length at the true shift, and over both, with the best shift for each wrong focal
length: along this valley, shift and focal length are hard to distinguish.
"""

import math
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule
from torch import Tensor

from geometry.camera import unproject
from geometry.masks import erode
from geometry.novel_views import inner_zoom, rotation_from_yaw_pitch, turn_about, zoomed_intrinsics
from geometry.se3 import apply_transform
from geometry.stencils import masked_median_per_image
from lightning_modules.render_consistency.calibration_views import Turn, opposite_turns, turn_regressor
from lightning_modules.render_consistency.disagreement import compare_depths
from lightning_modules.render_consistency.view_sampling import About
from renderers.curves import plot_curves
from renderers.display import scalar_map, to_uint8
from renderers.point_render import PointRenderer, scene_points
from renderers.splat import SplatRenderer
from renderers.turned_view import turn_view
from structures.files import write_png
from tools.calibrate import evenly, load_frames
from tools.command import data_parser, run_tool, with_default_data
from tools.pseudo_labels import unaugmented_frames

ROOMS = Path(__file__).parents[2] / "experiments" / "data" / "rooms.yaml"
SHIFTS = (-0.4, -0.3, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
"""Shifts added to the true depth, in units of its median."""
FOCALS = (0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.4)
"""Ratios of assumed and true focal length."""
HEAT_CELL_PX = 24


class Signal(NamedTuple):
    """Disagreement of the oracle and the rotated scene, means over images and views."""

    relative: float
    """Mean of ``|a - b| / (a + b)``."""
    slope: float
    """Slope along the rotation, in medians of depth."""


def oracle_disagreement(
    depth: Tensor,
    K: Tensor,
    turns: list[Turn],
    *,
    shift: float,
    focal: float,
    about: About,
    renderer: PointRenderer | None = None,
) -> Signal:
    """Disagreement of the oracle with a scene that is unprojected from shifted depth with a wrong focal length.

    Args:
        depth: True depth ``(N, 1, H, W)``, positive everywhere.
        K: True intrinsics ``(N, 3, 3)``.
        turns: Rotations of the camera, in opposite pairs.
        shift: Shift of the oracle's depth, in units of the median true depth of the image.
        focal: Ratio of assumed and true focal length.
        about: Whether the camera turns about its centre or the scene about its own.
        renderer: Point renderer, used if ``about`` is ``scene``.
    """
    everywhere = torch.ones_like(depth, dtype=torch.bool)
    median = masked_median_per_image(depth, everywhere)
    added = shift * median.view(-1, 1, 1, 1)
    predicted, true_points = depth + added, unproject(depth, K)
    K_assumed = zoomed_intrinsics(K, torch.full_like(median, focal))
    size = (depth.shape[-2], depth.shape[-1])
    relatives, slopes = [], []
    for turn in turns:
        R = rotation_from_yaw_pitch(*(torch.full_like(median, angle) for angle in turn))
        if about == "camera":
            zoom = inner_zoom(K_assumed, R, height=size[0], width=size[1])
            K_view = zoomed_intrinsics(K_assumed, zoom)
            view = turn_view(true_points, predicted, K=K_assumed, K_view=K_view, R_view_source=R, size=size)
            # Interpolated points of a depth edge lie on neither side; both predictions blend there in the same way.
            seen, carried, visible = view.image, view.depth, view.visible
            T_true = turn_about(R, pivot=torch.zeros_like(R[:, 0]), translation=torch.zeros_like(R[:, 0]))
        else:
            K_view = K_assumed

            def pivot(z: Tensor) -> Tensor:
                return torch.stack([torch.zeros_like(z), torch.zeros_like(z), z], dim=-1)

            T_true = turn_about(R, pivot=pivot(median), translation=pivot(0 * median))
            T_predicted = turn_about(R, pivot=pivot(median * (1 + shift)), translation=pivot(0 * median))
            points, kept, spacing = scene_points(predicted, K_assumed, edge_jump=0.1)
            drawn = (renderer or SplatRenderer())(
                points,
                true_points.flatten(2),
                K=K_view,
                T_view_source=T_predicted,
                size=size,
                mask=kept,
                spacing_m=spacing,
            )
            seen, carried, visible = drawn.features, drawn.depth_m, erode(drawn.visible, 2)
        predicted_there = apply_transform(T_true, seen)[:, 2:] + added
        visible = visible & (predicted_there > 0) & (carried > 0)
        found = compare_depths(predicted_there, carried, visible, turn_regressor(turn, K_view, size))
        relatives.append(found.relative.mean())
        slopes.append(found.slope.mean())
    return Signal(float(torch.stack(relatives).mean()), float(torch.stack(slopes).mean()))


def surface(depth: Tensor, K: Tensor, turns: list[Turn], about: About) -> tuple[Tensor, Tensor]:
    """Relative disagreement and slope over focal lengths (rows) and shifts (columns)."""
    rows = [
        [oracle_disagreement(depth, K, turns, shift=shift, focal=focal, about=about) for shift in SHIFTS]
        for focal in FOCALS
    ]
    return (
        torch.tensor([[signal.relative for signal in row] for row in rows]),
        torch.tensor([[signal.slope for signal in row] for row in rows]),
    )


def report(about: About, relative: Tensor, slope: Tensor) -> str:
    """The curves, the surface and its valley, as text."""
    at_truth, no_shift = FOCALS.index(1.0), SHIFTS.index(0.0)

    def line(values: Tensor) -> str:
        return " ".join(f"{value:8.4f}" for value in values.tolist())

    text = f"views rotated about the {about}\n"
    text += "  shift, in medians      " + line(torch.tensor(SHIFTS)) + "\n"
    text += "  relative, at true f    " + line(relative[at_truth]) + "\n"
    text += "  slope, at true f       " + line(slope[at_truth]) + "\n"
    text += "  f / true f             " + line(torch.tensor(FOCALS)) + "\n"
    text += "  relative, at true shift" + line(relative[:, no_shift]) + "\n"
    text += "  surface of the relative disagreement: rows f, columns shifts, * least of the row\n"
    for focal, row in zip(FOCALS, relative, strict=True):
        best = int(row.argmin())
        cells = [f"{value:8.4f}{'*' if k == best else ' '}" for k, value in enumerate(row.tolist())]
        text += f"    {focal:4.2f} " + "".join(cells) + "\n"
    return text


def draw(about: About, relative: Tensor, slope: Tensor, folder: Path) -> None:
    """Write the curves and the surface as pictures."""
    at_truth, no_shift = FOCALS.index(1.0), SHIFTS.index(0.0)
    pictures = {
        "shift": plot_curves(
            SHIFTS,
            {"relative": relative[at_truth].tolist(), "slope": slope[at_truth].tolist()},
            title=f"oracle, rotated about the {about}: over the shift",
            x_label="shift, in medians of depth",
            marks={"true": 0.0},
        ),
        "focal": plot_curves(
            FOCALS,
            {"relative": relative[:, no_shift].tolist()},
            title=f"oracle, rotated about the {about}: over the focal length",
            x_label="assumed over true focal length",
            marks={"true": 1.0},
        ),
    }
    # The square root shows the bottom of the valley as well as its walls.
    heat = (relative / relative.max()).sqrt()[None, None]
    heat = heat.repeat_interleave(HEAT_CELL_PX, dim=2).repeat_interleave(HEAT_CELL_PX, dim=3)
    pictures["surface"] = scalar_map(heat)[0]
    for name, picture in pictures.items():
        write_png(folder / f"{about}_{name}.png", to_uint8(picture).numpy())


def run(config: Namespace, data: LightningDataModule) -> None:
    """Print and draw the disagreement of the oracle.

    Raises:
        ValueError: If the data or a number cannot be used.
        OSError: If a file is missing or cannot be read or written.
    """
    if config.images < 1:
        raise ValueError(f"--images is {config.images}, but must be at least 1")
    turns = opposite_turns([config.yaw])
    config.out.mkdir(parents=True, exist_ok=True)  # before the surfaces, which take minutes
    batch = load_frames(evenly(unaugmented_frames(data, ["val"]), config.images), ("depth", "K"))
    for about in ("camera", "scene"):
        relative, slope = surface(batch["depth"], batch["K"], turns, about)
        sys.stdout.write(report(about, relative, slope))
        draw(about, relative, slope, config.out)
    sys.stdout.write(f"pictures: {config.out} (yaw {math.radians(config.yaw):.3f} rad)\n")


def main(args: list[str] | None = None) -> int:
    """Print and draw the disagreement of the oracle.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 with one sentence if data, number or file cannot be used, 2 for a wrong call.
    """
    parser = data_parser("tools.studies.consistency_signal", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--images", type=int, default=40, help="number of validation images")
    parser.add_argument("--yaw", type=float, default=10.0, help="yaw of the rotation, degrees")
    return run_tool(parser, lambda config: run(config, parser.instantiate(config).data), with_default_data(args, ROOMS))


if __name__ == "__main__":
    sys.exit(main())
