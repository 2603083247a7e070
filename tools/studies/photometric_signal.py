"""Direction of the gradient of the photometric loss with respect to depth, with exact depth and poses.

``python -m tools.studies.photometric_signal [--data.init_args.image_size '[64, 96]']``

On the validation clips of rooms, with exact poses, the depth of every image is made 20 % too large or too small. For
each weighting the study prints the share of the gradient on textureless pixels, the share that points towards the true
depth on textureless and on textured pixels, and the loss at multiples of the true depth relative to that at the true
depth.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from datamodules.rooms.video import RoomsVideoDataModule
from losses.photometric import Photometric, minimum_error
from losses.weighting import Averaging, GradientAwareMask, KeypointWeighting, PhotometricWeighting
from renderers.view_synthesis import synthesize_views
from structures.clip import ClipBatch, source_positions, sources_of
from tools.command import data_parser, run_tool

VIDEO = Path(__file__).parents[2] / "experiments" / "data" / "rooms_video.yaml"
DEFAULTS = ("--data", str(VIDEO), "--data.init_args.keypoints=true")
ERROR = 0.2
"""Relative error of the depth of an image."""
FACTORS = (0.8, 0.9, 1.0, 1.1, 1.25)
"""Multiples of the true depth at which the loss is evaluated."""


def photometric_loss(batch: ClipBatch, weighting: PhotometricWeighting, depth: Tensor) -> Tensor:
    """Weighted minimum reprojection error of clips for exact poses and a depth ``(B, 1, H, W)``, a scalar."""
    sources = sources_of(batch["frames"])
    T_source_target = batch["T_frame_target"][:, source_positions(batch["frames"].shape[1])]
    warped = synthesize_views(sources, depth=depth, K=batch["K"], T_source_target=T_source_target)
    compare = Photometric(batch["image"])
    error, _ = minimum_error(compare(warped.image), compare(sources))
    return weighting(error, image=batch["image"], keypoints=batch.get("keypoints"))


def depth_gradient(batch: ClipBatch, weighting: PhotometricWeighting, signs: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient with respect to the logarithm of a depth that is wrong by a known factor.

    Args:
        batch: Clips with exact depth and poses.
        weighting: The weighting.
        signs: ``(B,)``, 1 for images with too large depth, -1 for images with too small depth.

    Returns:
        Its absolute value ``(B, 1, H, W)``, and bool ``(B, 1, H, W)``, True where it points towards the true depth.
    """
    signs = signs.view(-1, 1, 1, 1)
    depth = (batch["depth"] * (1 + ERROR * signs)).requires_grad_()
    (gradient,) = torch.autograd.grad(photometric_loss(batch, weighting, depth), depth)
    gradient = gradient * batch["depth"]
    return gradient.abs(), gradient * signs > 0


def main(args: list[str] | None = None) -> int:
    """Print one line for each weighting.

    Returns:
        0, 1 with one sentence if the data cannot be used, 2 for a wrong call.
    """
    parser = data_parser("tools.studies.photometric_signal", __doc__, RoomsVideoDataModule)
    words = [*DEFAULTS, *(sys.argv[1:] if args is None else args)]
    return run_tool(parser, lambda options: run(parser.instantiate(options).data), words)


def run(data: RoomsVideoDataModule) -> None:
    """Print one line for each weighting."""
    data.prepare_data()
    data.setup("validate")
    weightings: dict[str, PhotometricWeighting] = {
        "averaging": Averaging(),
        "key points": KeypointWeighting(),
        "mask, half-way at 100": GradientAwareMask(gamma2=10.0),
        "mask, half-way at 400": GradientAwareMask(),
    }
    generator = torch.Generator().manual_seed(0)
    sums = {name: torch.zeros(4, dtype=torch.float64) for name in weightings}
    curves = {name: torch.zeros(len(FACTORS), dtype=torch.float64) for name in weightings}
    for batch in data.val_dataloader():
        signs = 2.0 * torch.randint(0, 2, (len(batch["image"]),), generator=generator) - 1
        for name, weighting in weightings.items():
            size, right = depth_gradient(batch, weighting, signs)
            for column, (part, chosen) in enumerate(
                [(batch["plain"], True), (batch["plain"], right), (~batch["plain"], True), (~batch["plain"], right)]
            ):
                sums[name][column] += size[part & torch.as_tensor(chosen)].sum()
            with torch.no_grad():
                losses = [photometric_loss(batch, weighting, batch["depth"] * factor) for factor in FACTORS]
            curves[name] += torch.stack(losses)
    at_truth = FACTORS.index(1.0)
    for name, (plain, plain_right, textured, textured_right) in sums.items():
        relative = (curves[name] / curves[name][at_truth]).tolist()
        curve = ", ".join(f"{value:.2f} at {factor:g}" for value, factor in zip(relative, FACTORS, strict=True))
        sys.stdout.write(
            f"{name}: {plain / (plain + textured):.3f} of the gradient on textureless pixels; towards the true depth: "
            f"{plain_right / plain:.3f} of it on textureless, {textured_right / textured:.3f} on textured pixels; "
            f"loss: {curve}\n"
        )


if __name__ == "__main__":
    sys.exit(main())
