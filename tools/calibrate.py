"""Find the shift of a depth network's output in a domain, and the focal length, from images alone.

``python -m tools.calibrate --data experiments/data/rooms.yaml --teacher X.ckpt --out calibration.yaml``

The network is a checkpoint of this project, a TorchScript file, a folder with a Hugging Face model, or the id of one.
Its weights stay as they are. It predicts depth of photos and of the views of slightly rotated cameras. The shift is the
constant under which these predictions are most consistent. The result is printed with 95 % intervals over images, drawn
as curves beside the YAML file, and used by ``python -m tools.predict --calibration``.
"""

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from datamodules.base import DepthDataModule, Split
from datamodules.samples.frame import Sample
from geometry.camera import field_of_view_from_focal
from geometry.camera_check import check_field_of_view
from lightning_modules.command_line.parsers import SettingsParser
from lightning_modules.render_consistency.calibration_search import (
    FIELDS_OF_VIEW,
    USUAL_FIELD_OF_VIEW,
    Domain,
    FocalResult,
    ShiftResult,
    find_focal,
    find_shift,
)
from lightning_modules.render_consistency.calibration_views import opposite_turns
from lightning_modules.render_consistency.curve_estimates import Estimate, trimmed_mean
from lightning_modules.render_consistency.view_sampling import About
from lightning_modules.runs.trained_data import trained_settings
from lightning_modules.teachers.teacher import Teacher, is_metric
from networks.huggingface import HuggingFaceDepth
from networks.torchscript import TorchScriptDepth
from renderers.curves import plot_curves
from renderers.display import to_uint8
from structures.calibration import Calibration, shift_of_metres
from structures.choices import Quantity
from structures.files import write_png
from structures.output_paths import check_output_file
from tools.command import data_parser, run_data_tool
from tools.pseudo_labels import unaugmented_frames
from tools.teacher_arguments import add_teacher_arguments, make_teacher

BATCH = 16
Find = Literal["shift", "focal", "both"]
By = Literal["spread", "slope"]


def _parser() -> SettingsParser:
    parser = data_parser("tools.calibrate", __doc__)
    parser.add_argument(
        "--teacher",
        type=str,
        required=True,
        help="checkpoint, TorchScript file, folder with a Hugging Face model, or id",
    )
    parser.add_argument("--out", type=Path, required=True, help="calibration file to write (.yaml)")
    parser.add_argument(
        "--find", type=Find, default="shift", help="the depth shift (known camera), the focal length, or both"
    )
    parser.add_argument(
        "--by", type=By, default="spread", help="criterion of the shift: least disagreement (spread) or zero slope"
    )
    parser.add_argument("--about", type=About, default="camera", help="centre of rotation of the views")
    parser.add_argument("--output", type=Quantity | None, help="whether the shift applies to depth or disparity")
    add_teacher_arguments(parser)
    parser.add_argument("--split", type=str, choices=get_args(Split), default="train", help="split of the images")
    parser.add_argument("--images", type=int, default=200, help="number of images, evenly over the split")
    parser.add_argument("--yaw", type=float, nargs="*", default=[8.0], help="yaw angles, degrees")
    parser.add_argument("--pitch", type=float, nargs="*", default=[6.0], help="pitch angles, degrees")
    parser.add_argument("--shift", type=float, help="for --find focal: the known shift, in the unit of the output")
    parser.add_argument("--field-of-view", type=float, help="horizontal, degrees, for data without intrinsics")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    return parser


def evenly(frames: Dataset[Sample], count: int) -> Subset[Sample]:
    """At most ``count`` frames, evenly over the data set."""
    length = len(cast(Any, frames))
    return Subset(frames, torch.linspace(0, length - 1, min(count, length)).round().long().unique().tolist())


def load_frames(frames: Dataset[Sample], names: Sequence[str]) -> dict[str, Tensor]:
    """Chosen fields of all samples, by name, ``(N, ...)`` each."""
    batches = list(DataLoader(frames, batch_size=BATCH))
    return {name: torch.cat([batch[name] for batch in batches]) for name in names}


def make_network(teacher: Teacher, output: Quantity) -> Callable[[Tensor, Tensor], Tensor]:
    """The teacher's depth, or its inverse, as a function of images ``(B, 3, H, W)`` and intrinsics ``(B, 3, 3)``."""

    def network(image: Tensor, K: Tensor) -> Tensor:
        with torch.no_grad():
            depth = teacher.predict_step({"image": image, "K": K}, 0).float().clamp(min=1e-6)
        return depth if output == "depth" else 1 / depth

    return network


def _line(name: str, estimate: Estimate, unit: str = "") -> str:
    note = "" if estimate.found else "  (no optimum inside the search range: its nearest end)"
    return f"{name}: {estimate.value:.4g}{unit}  [{estimate.low:.4g}, {estimate.high:.4g}]{note}\n"


def _report_shift(result: ShiftResult, estimate: Estimate, output: Quantity) -> str:
    unit = result.unit
    in_medians = [f"{value / unit:+.3f}" for value in (estimate.value, estimate.low, estimate.high)]
    return (
        f"shift of {output}, in the unit of the network's output (median over the images: {unit:.4g})\n"
        + _line("  least disagreement, in spreads of depth", result.smallest)
        + _line("  zero slope along the rotation", result.signed)
        + _line("  least relative disagreement (the paper's)", result.relative)
        + f"  chosen, in medians: {in_medians[0]} [{in_medians[1]}, {in_medians[2]}]\n"
    )


def _draw_shift(result: ShiftResult, estimate: Estimate, path: Path) -> None:
    grid = (result.shifts / result.unit).tolist()
    slope, spread = trimmed_mean(result.curves.slope), trimmed_mean(result.curves.spread)
    picture = plot_curves(
        grid,
        {"slope along the rotation": slope.tolist(), "disagreement in spreads of depth": spread.tolist()},
        title="disagreement over the shift",
        x_label="shift, in medians of the output",
        marks={f"{estimate.value / result.unit:+.3f}": estimate.value / result.unit},
        band=(estimate.low / result.unit, estimate.high / result.unit),
    )
    write_png(path, to_uint8(picture).numpy())


def _draw_focal(result: FocalResult, camera: Estimate, path: Path) -> None:
    picture = plot_curves(
        [float(degrees) for degrees in FIELDS_OF_VIEW],
        {
            "disagreement in spreads of depth": trimmed_mean(result.curves.spread).tolist(),
            "slope along the rotation": trimmed_mean(result.curves.slope).tolist(),
        },
        title="disagreement over the assumed field of view",
        x_label="horizontal field of view, degrees",
        marks={f"{camera.value:.1f}": camera.value},
        band=(camera.low, camera.high),
    )
    write_png(path, to_uint8(picture).numpy())


def _domain(config: Any, data: LightningDataModule, teacher: Teacher) -> tuple[Domain, bool]:
    """Images and network, and whether the intrinsics come from the data or the user (else they are assumed)."""
    output = config.output
    if output is None:
        model = teacher.model
        gives_inverse = isinstance(model, HuggingFaceDepth | TorchScriptDepth) and model.inverse
        output = "disparity" if gives_inverse else "depth"
    turns = tuple(opposite_turns(config.yaw, config.pitch))
    frames = evenly(unaugmented_frames(data, [config.split]), config.images)
    image, K, known = load_frames(frames, ("image", "K", "K_known")).values()
    domain = Domain(image, K, make_network(teacher, output), output, turns)
    if config.field_of_view is not None:
        return domain.at_field_of_view(config.field_of_view), True
    if config.find == "shift" and not bool(known.all()):
        view = data.assumed_field_of_view_degrees if isinstance(data, DepthDataModule) else USUAL_FIELD_OF_VIEW
        sys.stderr.write(
            f"warning: the data have no intrinsics, so the field of view of {view:g} degrees that they assume is used "
            "(--field-of-view sets another, --find both estimates it)\n"
        )
        return domain.at_field_of_view(view), False
    return domain, True


def _settings(teacher: str) -> dict[str, Any]:
    """Settings of the data that a checkpoint was trained on; empty for other networks."""
    return trained_settings(Path(teacher)) if Path(teacher).is_file() else {}


def check_output(out: Path) -> None:
    """Check that a calibration and its pictures can be written, and that they replace nothing but a calibration.

    Raises:
        ValueError: If the file exists and is no calibration.
        OSError: If the folder cannot be written to.
    """
    for path in (out, out.with_suffix(".shift.png"), out.with_suffix(".focal.png")):
        check_output_file(path)
    if out.is_file() and out.stat().st_size > 0:
        try:
            earlier = Calibration.load(out)
        except ValueError as error:
            raise ValueError(
                f"'{out}' exists and is no calibration, so it is not replaced; give another file"
            ) from error
        sys.stderr.write(f"note: the calibration of '{earlier.teacher}' in '{out}' is replaced\n")


def run(config: Any, data: LightningDataModule) -> str:
    """Calibrate a network, write the file and its pictures, and return the report.

    Args:
        config: The parsed options.
        data: The data module.

    Raises:
        ValueError: If data, network or an argument cannot be used.
        OSError: If a file cannot be read or written.
    """
    if config.images < 2:
        raise ValueError(f"--images is {config.images}, but at least 2 are needed for an interval")
    if config.find == "focal" and config.shift is None:
        raise ValueError("--find focal needs the shift: --shift S, or --find both")
    if config.find != "shift" and config.about == "scene":
        raise ValueError("--find focal and --find both rotate the camera: leave out --about scene")
    check_output(config.out)
    if config.field_of_view is not None:
        check_field_of_view(config.field_of_view, "--field-of-view")
    teacher = make_teacher(config, "depth", common_unit=True)
    domain, camera_known = _domain(config, data, teacher)
    metres = is_metric(teacher, _settings(config.teacher))
    if metres:
        sys.stderr.write(
            f"warning: '{config.teacher}' predicts metric depth, which has no unknown shift; the shift found is at "
            "best its bias on these images\n"
        )
    report, focal = "", None
    if config.find != "shift":
        focal = find_focal(domain, shift=config.shift if config.find == "focal" else None, seed=config.seed)
        report += "horizontal field of view, degrees\n"
        report += _line("  zero slope along the rotation", focal.signed)
        report += _line("  least disagreement, in spreads of depth", focal.smallest)
        # The slope determines the focal length if the shift is known; otherwise some shift makes it zero at any focal.
        camera = focal.signed if config.find == "focal" else focal.smallest
        report += f"  chosen: {camera.value:.1f}\n"
        domain = domain.at_field_of_view(camera.value)
        _draw_focal(focal, camera, config.out.with_suffix(".focal.png"))
    if config.find == "focal":
        shift, interval = config.shift, (config.shift, config.shift)
    else:
        found = find_shift(domain, about=config.about, seed=config.seed)
        taken = found.smallest if config.by == "spread" else found.signed
        report += _report_shift(found, taken, domain.output)
        _draw_shift(found, taken, config.out.with_suffix(".shift.png"))
        shift, interval = taken.value, (taken.low, taken.high)
        if not taken.found:
            sys.stderr.write(
                "warning: the shift lies at an end of the search range, so it was not found: the output may need more "
                "than a shift (mixed depth and disparity), or the network is too inaccurate\n"
            )
    if focal is not None:
        view: float | None = camera.value
        view_interval: tuple[float, float] | None = (camera.low, camera.high)
    else:
        # Stored only if all images share it.
        views = [math.degrees(field_of_view_from_focal(float(f), domain.image.shape[-1])) for f in domain.K[:, 0, 0]]
        one = camera_known and max(views) - min(views) < 0.5
        view, view_interval = (sum(views) / len(views) if one else None), None
    Calibration(
        output=domain.output,
        shift=shift,
        shift_interval=interval,
        domain=type(data).__name__,
        teacher=teacher.title,
        images=len(domain.image),
        field_of_view_degrees=view,
        field_of_view_interval=view_interval,
    ).save(config.out)
    if metres:
        report += f"warning: {shift_of_metres(shift, domain.output)}\n"
    end = f"written to {config.out}, for tools.predict --calibration\n"
    return f"{teacher.title} on {len(domain.image)} images\n{report}{end}"


def main(args: list[str] | None = None) -> int:
    """Calibrate a network in a domain.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 with one sentence if network, data or file cannot be used, 2 for a wrong call.
    """
    return run_data_tool(_parser(), run, args)


if __name__ == "__main__":
    sys.exit(main())
