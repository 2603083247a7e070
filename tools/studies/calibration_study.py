"""Error of the calibration for known shifts: one frozen network, its output shifted artificially, on held-out rooms.

``python -m tools.studies.calibration_study --checkpoint X.ckpt``

Five domains of rooms, of two ranges of focal lengths, get five known shifts of depth, and then of disparity. For each
domain the study prints the shift that ``tools.calibrate`` finds and its error, the error without calibration, the error
after subtracting the shift found in the domain without an artificial one, and the floor: the quartiles of the shifts
that fit each image best to its ground truth. Then it prints the estimated field of view of each range and its error,
with the shift known and unknown, and the error of the usual 60 degrees.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jsonargparse import Namespace
from torch import Tensor

from datamodules.base import Split
from datamodules.rooms.datamodule import RoomsDataModule
from datamodules.rooms.settings import RoomsSettings
from geometry.alignment import scale_and_shift
from geometry.camera import focal_from_field_of_view
from lightning_modules.render_consistency.calibration_search import USUAL_FIELD_OF_VIEW, Domain, find_focal, find_shift
from lightning_modules.render_consistency.calibration_views import opposite_turns
from lightning_modules.render_consistency.curve_estimates import Estimate
from lightning_modules.teachers.teacher import Teacher
from structures.choices import Quantity
from tools.calibrate import evenly, load_frames, make_network
from tools.command import run_tool, settings_parser
from tools.pseudo_labels import unaugmented_frames

HIDDEN = (0.0, 0.2, -0.2, 0.4, -0.3)
"""Shifts removed from the output, one per domain, in medians of the original output; the first is the null domain."""

STILLS = RoomsSettings(n_video_scenes=0, n_video_val=0, n_video_test=0, n_stills=1200, n_stills_val=0, n_stills_test=0)
WIDE = replace(STILLS, seed=101, plain_wall_fraction=0.3, focal_range=(0.55, 0.70))
LONG = replace(STILLS, seed=102, focal_range=(0.95, 1.20))
"""The domains of experiments/data/rooms_affine.yaml."""


@dataclass(frozen=True)
class Rooms:
    """Images of one range of focal lengths with their ground truth."""

    name: str
    image: Tensor
    K: Tensor
    depth: Tensor
    plane: Tensor

    def part(self, index: int, parts: int) -> "Rooms":
        """Every ``parts``-th image from ``index`` on."""
        maps = (self.image, self.K, self.depth, self.plane)
        return Rooms(f"{self.name} {index + 1}", *(values[index::parts] for values in maps))

    def domain(self, network: Callable[[Tensor, Tensor], Tensor], output: Quantity) -> Domain:
        """The images with the network that predicts them."""
        return Domain(self.image, self.K, network, output, tuple(opposite_turns([7.0], [5.0])))


def load(name: str, settings: RoomsSettings, images: int, size: tuple[int, int], split: Split = "train") -> Rooms:
    """Images of rooms with the given settings, rendered if they are missing."""
    data = RoomsDataModule(
        settings=settings, image_size=size, parts=("still",), eval_parts=("still",), fields=("plane",)
    )
    batch = load_frames(evenly(unaugmented_frames(data, [split]), images), ("image", "K", "depth", "plane"))
    return Rooms(name, batch["image"], batch["K"], batch["depth"], batch["plane"])


def shifted_down(network: Callable[[Tensor, Tensor], Tensor], constant: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The network with a constant subtracted from its output."""
    return lambda image, K: network(image, K) - constant


def fitted_shifts(rooms: Rooms, network: Callable[[Tensor, Tensor], Tensor], output: Quantity, unit: float) -> Tensor:
    """The shift that aligns each image best with its ground truth, in units of the output, ``(N,)``."""
    predicted = torch.cat([network(*pair) for pair in zip(rooms.image.split(16), rooms.K.split(16), strict=True)])
    truth = rooms.depth if output == "depth" else 1 / rooms.depth.clamp(min=1e-3)
    scale, shift = scale_and_shift(predicted, target=truth, mask=rooms.depth > 0)
    return shift / scale / unit


def _interval(estimate: Estimate, unit: float, offset: float = 0.0) -> str:
    value, low, high = (number / unit - offset for number in estimate[:3])
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]{'' if estimate.found else ' (an end)'}"


def shift_table(domains: list[Rooms], network: Callable[[Tensor, Tensor], Tensor], output: Quantity) -> str:
    """A line for each domain and a summary."""
    text = (
        f"{output}: true shift | least spread, 95 % | error | zero slope, 95 % | error | minus the null domain's, "
        "spread, slope | uncalibrated | least relative | floor\n"
    )
    errors: list[list[float]] = []
    null = (0.0, 0.0)
    for rooms, hidden in zip(domains, HIDDEN, strict=True):
        plain = rooms.domain(network, output)
        unit = plain.unit
        found = find_shift(rooms.domain(shifted_down(network, hidden * unit), output), unit=unit)
        values = (found.smallest.value / unit, found.signed.value / unit)
        if hidden == 0.0:
            null = values
        quartiles = fitted_shifts(rooms, network, output, unit).quantile(torch.tensor([0.25, 0.75])).tolist()
        by_spread, by_slope = (abs(value - hidden) for value in values)
        less = [abs(value - zero - hidden) for value, zero in zip(values, null, strict=True)]
        errors.append([by_spread, by_slope, *less, abs(hidden)])
        text += (
            f"  {rooms.name} ({len(rooms.image)} images): {hidden:+.2f} | {_interval(found.smallest, unit)} | "
            f"{by_spread:.3f} | {_interval(found.signed, unit)} | {by_slope:.3f} | {less[0]:.3f}, {less[1]:.3f} | "
            f"{abs(hidden):.3f} | {found.relative.value / unit:+.3f}{'' if found.relative.found else ' (an end)'} | "
            f"quartiles {quartiles[0]:+.3f} {quartiles[1]:+.3f}\n"
        )
    means = torch.tensor(errors).mean(dim=0).tolist()
    return text + (
        f"  mean error by spread {means[0]:.3f}, by slope {means[1]:.3f}, uncalibrated {means[4]:.3f}; minus the null "
        f"domain's, over the other four: {means[2] * 5 / 4:.3f}, {means[3] * 5 / 4:.3f}\n"
    )


def focal_table(ranges: list[Rooms], network: Callable[[Tensor, Tensor], Tensor]) -> str:
    """A line for each range of focal lengths."""
    text = "field of view: true | zero slope, 95 % | error of f | least spread, 95 % | error of f | of 60 degrees\n"
    for rooms in ranges:
        width = rooms.image.shape[-1]
        true = rooms.K[:, 0, 0]

        def error(degrees: float, true: Tensor = true, width: int = width) -> float:
            focal = focal_from_field_of_view(math.radians(degrees), width)
            return float((focal / true - 1).abs().median())

        true_degrees = math.degrees(2 * math.atan(width / 2 / float(true.median())))
        for label, shift in (("shift known", 0.0), ("both unknown", None)):
            found = find_focal(rooms.domain(network, "depth"), shift=shift)
            text += (
                f"  {rooms.name}, {label}: {true_degrees:.1f} | {_interval(found.signed, 1.0)} | "
                f"{error(found.signed.value):.3f} | {_interval(found.smallest, 1.0)} | "
                f"{error(found.smallest.value):.3f} | {error(USUAL_FIELD_OF_VIEW):.3f}\n"
            )
    return text


def run(config: Namespace) -> None:
    """Print the study.

    Raises:
        ValueError: If the checkpoint or a number is not usable.
        OSError: If a file is missing or cannot be read or written.
    """
    if config.images < 10 or config.focal_images < 2:
        raise ValueError(
            f"--images is {config.images} and --focal-images {config.focal_images}, but intervals need at least 2 "
            "images of each of the five domains, 10 in all, and 2 of each range"
        )
    share = config.images // 5
    size = (config.size[0], config.size[1])
    teacher = Teacher(config.checkpoint, "depth")  # before rendering the rooms, which may take minutes
    ranges = [load("wide", WIDE, 2 * share, size), load("long", LONG, 3 * share, size)]
    domains = [ranges[1].part(0, 3), ranges[0].part(0, 2), ranges[1].part(1, 3), ranges[0].part(1, 2)]
    domains.append(ranges[1].part(2, 3))
    for output in ("depth", "disparity"):
        sys.stdout.write(shift_table(domains, make_network(teacher, output), output))
        sys.stdout.flush()
    few = [rooms.part(0, max(1, len(rooms.image) // config.focal_images)) for rooms in ranges]
    sys.stdout.write(focal_table(few, make_network(teacher, "depth")))


def main(args: list[str] | None = None) -> int:
    """Print the study.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 with one sentence if checkpoint, number or file cannot be used, 2 for a wrong call.
    """
    parser = settings_parser("tools.studies.calibration_study", __doc__)
    parser.add_argument("--checkpoint", type=str, required=True, help="checkpoint of a network of metric depth")
    parser.add_argument("--images", type=int, default=750, help="number of images, over all domains")
    parser.add_argument("--focal-images", type=int, default=100, help="images of each range for the focal length")
    parser.add_argument("--size", type=int, nargs=2, default=[96, 128], help="height and width")
    return run_tool(parser, run, args)


if __name__ == "__main__":
    sys.exit(main())
