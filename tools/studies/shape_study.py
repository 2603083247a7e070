"""What a constant does for the shape of a network's scenes: none, the learned one, those found without truth, the best.

``python -m tools.studies.shape_study runs/render_consistency/*/checkpoints/last.ckpt``

For each checkpoint of :class:`~lightning_modules.render_consistency.RenderConsistency` one line for each way to choose
the constant that is added to its depth, with errors on the test rooms of rooms_mixed, which no training saw. *No slope*
and *smallest spread* are what ``tools.calibrate`` finds on photos of the training domains, without truth; *best* is the
constant with the least error, after an alignment by medians, on the same photos with their truth.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from jsonargparse import ArgumentError, Namespace
from torch import Tensor

from geometry.alignment import median_scale
from lightning_modules.command_line.parsers import SettingsParser
from lightning_modules.render_consistency import RenderConsistency
from lightning_modules.render_consistency.calibration import opposite_turns
from lightning_modules.render_consistency.calibration_search import SHIFTS, Domain, find_shift
from lightning_modules.runs.loading import innermost_reason, load_module
from metrics.depth import DepthMetrics
from metrics.shape import ShapeMetrics
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


def best_constant(said: Tensor, depth: Tensor, unit: float) -> float:
    """The constant of the grid with the least mean relative error after an alignment by medians, with truth."""
    mask = depth > 0
    errors = []
    for shift in (SHIFTS * unit).tolist():
        shifted = (said + shift).clamp(min=1e-2 * unit)
        scale = median_scale(shifted, target=depth, mask=mask).view(-1, 1, 1, 1)
        errors.append(float((((scale * shifted - depth).abs() / depth.clamp(min=1e-3))[mask]).mean()))
    return float(SHIFTS[int(torch.tensor(errors).argmin())]) * unit


@torch.no_grad()
def raw_depth(module: RenderConsistency, rooms: Rooms) -> Tensor:
    """The network's depth of all images, without any constant."""
    return torch.cat([module.raw_depth(image) for image in rooms.image.split(16)])


def errors(said: Tensor, rooms: Rooms) -> dict[str, float]:
    """Shape errors and AbsRel after scale and shift."""
    shape, depth = ShapeMetrics(), DepthMetrics(alignment="least_squares", edges=False)
    mask, ten = rooms.depth > 0, torch.full((len(said),), 10.0)
    shape.update(said, target_m=rooms.depth, mask=mask, K=rooms.K, plane=rooms.plane)
    depth.update(said, target_m=rooms.depth, mask=mask, depth_scale_m=ten)
    values = {name: float(value) for name, value in shape.compute().items()}
    (absrel,) = (float(value) for name, value in depth.compute().items() if name.startswith("abs_rel"))
    return {name: values[name] for name in COLUMNS} | {"abs_rel_lsq": absrel}


def load_modules(checkpoints: list[Path]) -> list[RenderConsistency]:
    """The modules of all checkpoints.

    Raises:
        ValueError: If a file is no checkpoint of a RenderConsistency, or is damaged.
        FileNotFoundError: If there is no such file.
    """
    modules = []
    for checkpoint in checkpoints:
        module = load_module(checkpoint)
        if not isinstance(module, RenderConsistency):
            raise ValueError(f"'{checkpoint}' holds a {type(module).__name__}, but a RenderConsistency is needed")
        modules.append(module)
    return modules


def study(module: RenderConsistency, trained_on: Rooms, test: Rooms) -> str:
    """A line for each way to choose the constant, under one with the median of the module's depth."""

    def network(image: Tensor, _K: Tensor) -> Tensor:
        with torch.no_grad():
            return module.raw_depth(image)

    domain = Domain(trained_on.image, trained_on.K, network, "depth", tuple(opposite_turns([7.0], [5.0])))
    found = find_shift(domain)
    said = raw_depth(module, test)
    constants = {
        "none": 0.0,
        "learned": float(module.shift.detach()),
        "no slope": found.signed.value,
        "smallest spread": found.smallest.value,
        "best, with truth": best_constant(raw_depth(module, trained_on), trained_on.depth, found.unit),
    }
    text = f"(median of its depth {found.unit:.3f})\n"
    for name, constant in constants.items():
        shifted = (said + constant).clamp(min=1e-2 * found.unit)
        row = ", ".join(f"{key} {value:.4f}" for key, value in errors(shifted, test).items())
        text += f"  {name} ({constant:.3f}): {row}\n"
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
    modules = load_modules(config.checkpoints)  # all of them before the rooms, which may take minutes
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
        0, 1 with one sentence if something is wrong with checkpoint, number or file, 2 for a wrong call.
    """
    parser = SettingsParser(
        prog="python -m tools.studies.shape_study", description=(__doc__ or "").split("\n\n")[0], exit_on_error=False
    )
    parser.add_argument("checkpoints", nargs="+", type=Path, help="checkpoints of RenderConsistency")
    parser.add_argument("--images", type=int, default=200, help="photos of each training domain")
    parser.add_argument("--size", type=int, nargs=2, default=[64, 96], help="height and width")
    try:
        config = parser.parse_args(args)
    except ArgumentError as error:
        sys.stderr.write(f"error: {innermost_reason(error)}\n")
        return 2
    try:
        run(config)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {innermost_reason(error)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
