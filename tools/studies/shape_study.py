"""Shape errors of render-consistency checkpoints for each way to choose the depth shift.

``python -m tools.studies.shape_study runs/render_consistency/*/checkpoints/last.ckpt``

Prints, for each checkpoint of :class:`~lightning_modules.render_consistency.RenderConsistency`, the errors on the
held-out test rooms of rooms_mixed for each shift: none, the learned one, the two that ``tools.calibrate`` finds on
images of the training domains without ground truth (zero slope, least spread), and the best one: the shift with the
least error after median alignment, on the same images with their ground truth.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from jsonargparse import Namespace
from torch import Tensor

from geometry.alignment import median_scale
from lightning_modules.render_consistency import RenderConsistency
from lightning_modules.render_consistency.calibration_search import SHIFTS, Domain, find_shift
from lightning_modules.render_consistency.calibration_views import opposite_turns
from lightning_modules.runs.loading import load_module
from metrics.depth import DepthMetrics
from metrics.shape import ShapeMetrics
from tools.command import run_tool, settings_parser
from tools.studies.calibration_study import LONG, STILLS, WIDE, Rooms, load

COLUMNS = ("chamfer_m", "f_score_5cm", "plane_normal_deg", "plane_bend_deg", "residual_shift", "lsiv")
TEST = replace(
    STILLS,
    seed=105,
    n_stills=40,
    n_stills_val=16,
    n_stills_test=24,
    plain_wall_fraction=0.5,
    focal_range=(0.55, 1.20),
    views_per_still=8,
)


def best_shift(predicted: Tensor, depth: Tensor, unit: float) -> float:
    """The shift of the search grid with the least mean relative error after median alignment to the ground truth."""
    mask = depth > 0
    errors = []
    for shift in (SHIFTS * unit).tolist():
        shifted = (predicted + shift).clamp(min=1e-2 * unit)
        scale = median_scale(shifted, target=depth, mask=mask).view(-1, 1, 1, 1)
        errors.append(float((((scale * shifted - depth).abs() / depth.clamp(min=1e-3))[mask]).mean()))
    return float(SHIFTS[int(torch.tensor(errors).argmin())]) * unit


@torch.no_grad()
def raw_depth(module: RenderConsistency, rooms: Rooms) -> Tensor:
    """The network's depth of all images, without a shift, ``(N, 1, H, W)``."""
    return torch.cat([module.raw_depth(image) for image in rooms.image.split(16)])


def errors(predicted: Tensor, rooms: Rooms) -> dict[str, float]:
    """Shape errors, and AbsRel after scale-and-shift alignment, by name."""
    shape, depth = ShapeMetrics(), DepthMetrics(alignment="least_squares", edges=False)
    mask, ten = rooms.depth > 0, torch.full((len(predicted),), 10.0)
    shape.update(predicted, target_m=rooms.depth, mask=mask, K=rooms.K, plane=rooms.plane)
    depth.update(predicted, target_m=rooms.depth, mask=mask, depth_scale_m=ten)
    values = {name: float(value) for name, value in shape.compute().items()}
    (absrel,) = (float(value) for name, value in depth.compute().items() if name.startswith("abs_rel"))
    return {name: values[name] for name in COLUMNS} | {"abs_rel_lsq": absrel}


def load_modules(checkpoints: list[Path]) -> list[RenderConsistency]:
    """The modules of all checkpoints.

    Raises:
        ValueError: If a file is no checkpoint of RenderConsistency, or is damaged.
        FileNotFoundError: If a file does not exist.
    """
    modules = []
    for checkpoint in checkpoints:
        module = load_module(checkpoint)
        if not isinstance(module, RenderConsistency):
            raise ValueError(f"'{checkpoint}' holds a {type(module).__name__}, but a RenderConsistency is needed")
        modules.append(module)
    return modules


def study(module: RenderConsistency, trained_on: Rooms, test: Rooms) -> str:
    """Table of the errors of one module for each shift, below the median of its depth."""

    def network(image: Tensor, _K: Tensor) -> Tensor:
        with torch.no_grad():
            return module.raw_depth(image)

    domain = Domain(trained_on.image, trained_on.K, network, "depth", tuple(opposite_turns([7.0], [5.0])))
    found = find_shift(domain)
    predicted = raw_depth(module, test)
    shifts = {
        "none": 0.0,
        "learned": float(module.shift.detach()),
        "zero slope": found.signed.value,
        "least spread": found.smallest.value,
        "best": best_shift(raw_depth(module, trained_on), trained_on.depth, found.unit),
    }
    text = f"(median depth {found.unit:.3f})\n"
    for name, shift in shifts.items():
        shifted = (predicted + shift).clamp(min=1e-2 * found.unit)
        row = ", ".join(f"{key} {value:.4f}" for key, value in errors(shifted, test).items())
        text += f"  {name} ({shift:.3f}): {row}\n"
    return text


def run(config: Namespace) -> None:
    """Print the lines of all checkpoints.

    Raises:
        ValueError: If a checkpoint or a number is not usable.
        OSError: If a file is missing or cannot be read or written.
    """
    if config.images < 1:
        raise ValueError(f"--images is {config.images}, but must be at least 1")
    size = (config.size[0], config.size[1])
    modules = load_modules(config.checkpoints)  # before rendering the rooms, which may take minutes
    domains = [load(name, settings, config.images, size) for name, settings in (("wide", WIDE), ("long", LONG))]
    fields = ("image", "K", "depth", "plane")
    trained_on = Rooms("both", *(torch.cat([getattr(domain, field) for domain in domains]) for field in fields))
    test = load("test", TEST, 10_000, size, split="test")
    for checkpoint, module in zip(config.checkpoints, modules, strict=True):
        sys.stdout.write(f"{checkpoint} {study(module, trained_on, test)}")
        sys.stdout.flush()


def main(args: list[str] | None = None) -> int:
    """Print the lines.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 with one sentence if checkpoint, number or file cannot be used, 2 for a wrong call.
    """
    parser = settings_parser("tools.studies.shape_study", __doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path, help="checkpoints of RenderConsistency")
    parser.add_argument("--images", type=int, default=200, help="number of images of each training domain")
    parser.add_argument("--size", type=int, nargs=2, default=[64, 96], help="height and width")
    return run_tool(parser, run, args)


if __name__ == "__main__":
    sys.exit(main())
