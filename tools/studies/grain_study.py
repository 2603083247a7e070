"""Fine ripple of predicted depth on flat surfaces, and what it depends on, for checkpoints of depth papers.

``python -m tools.studies.grain_study --checkpoints best.ckpt [--data experiments/data/manifest.yaml ...]``

Prints, for each checkpoint, a table: the prediction as it is, blended with that of the mirror image, and with the input
blurred or made noisier. Columns: AbsRel under the checkpoint's own protocol; the grain in windows of 3, 5 and 9 pixels
in per cent of depth (see ``metrics/grain.py``); the angle between predicted and true normals on flat surfaces; the
share of the ripple that the brightness of the image explains linearly in each window; and how the ripple's power is
spread over wavelengths (2 to 3, 3 to 5, 5 to 9 and more pixels). The last row is the ground truth itself, whose ripple
is the noise of the sensor.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import gaussian_blur

from datamodules.samples.frame import Sample
from geometry.camera import unproject
from geometry.normals import normals_from_points
from geometry.stencils import fill_outside
from lightning_modules.runs.loading import load_module
from lightning_modules.tasks.depth import DepthModule
from lightning_modules.tasks.flip_postprocessing import blended_with_mirror_image
from metrics.depth import DepthMetrics
from metrics.grain import FLATNESS, WINDOWS, Grain, flat_windows
from structures.choices import Split
from tools.command import data_parser, few_messages, run_tool, with_default_data
from tools.pseudo_labels import unaugmented_frames

ROOMS = Path(__file__).parents[2] / "experiments" / "data" / "rooms.yaml"
BATCH = 16
PATCH = 16
"""Size of the patches of the spectrum, pixels."""
BANDS = ((2.0, 3.0), (3.0, 5.0), (5.0, 9.0), (9.0, 17.0))
"""Wavelengths, pixels."""
BLUR_PX, NOISE = 1.0, 0.02
"""Standard deviations of the blur, pixels, and of the noise, of images in [0, 1]."""
NORMAL_RADIUS, TRUE_NORMAL_RADIUS = 1, 4
"""Distances of the neighbours from which normals are taken, pixels: a sensor's noise tilts those of near ones."""


def detrended(values: Tensor, size: int) -> Tensor:
    """Residuals of the affine fit in every ``size x size`` patch of maps ``(B, 1, H, W)``: ``(B, N, size, size)``."""
    patches = F.unfold(values, size, stride=size // 2).transpose(1, 2).unflatten(2, (size, size))
    steps = torch.arange(size, dtype=values.dtype) - (size - 1) / 2
    patches = patches - patches.mean(dim=(2, 3), keepdim=True)
    spread = size * steps.square().sum()
    for ramp in (steps.view(1, size).expand(size, size), steps.view(size, 1).expand(size, size)):
        patches = patches - (patches * ramp).sum(dim=(2, 3), keepdim=True) / spread * ramp
    return patches


@dataclass
class Spectrum:
    """Mean power of relative ripple by wavelength, and its part that is linear in brightness, over flat patches."""

    power: Tensor = field(default_factory=lambda: torch.zeros(len(BANDS), dtype=torch.float64))
    explained: float = 0.0
    total: float = 0.0

    def add(self, depth: Tensor, image: Tensor, flat: Tensor) -> None:
        """Add a batch.

        Args:
            depth: ``(B, 1, H, W)``, positive.
            image: ``(B, 3, H, W)``.
            flat: bool ``(B, 1, H, W)``, centres of flat windows; a patch counts where they fill its inner part.
        """
        inner = F.unfold(flat.double(), PATCH, stride=PATCH // 2).transpose(1, 2).unflatten(2, (PATCH, PATCH))
        chosen = inner[..., 4:-4, 4:-4].flatten(2).all(dim=2)
        inverse = 1 / depth.double().clamp(min=1e-2)
        level = F.unfold(inverse, PATCH, stride=PATCH // 2).mean(dim=1)
        ripple = (detrended(inverse, PATCH) / level[..., None, None])[chosen]
        bright = detrended(image.double().mean(dim=1, keepdim=True), PATCH)[chosen]
        window = torch.hann_window(PATCH, periodic=False, dtype=torch.float64)
        power = torch.fft.fft2(ripple * window[:, None] * window).abs().square().sum(dim=0)
        frequency = torch.fft.fftfreq(PATCH, dtype=torch.float64)
        # The finer of the two directions determines the wavelength.
        wavelength = 1 / torch.maximum(frequency.abs()[:, None], frequency.abs()).clamp(min=1e-9)
        for band, (low, high) in enumerate(BANDS):
            self.power[band] += power[(wavelength >= low) & (wavelength < high)].sum()
        product, square = (ripple * bright).sum(dim=(1, 2)), bright.square().sum(dim=(1, 2))
        self.explained += float((product.square() / square.clamp(min=1e-12)).sum())
        self.total += float(ripple.square().sum())

    def shares(self) -> list[float]:
        """Shares of the power in each band."""
        return (self.power / self.power.sum()).tolist()


class Row:
    """Errors of one way to predict."""

    def __init__(self, module: DepthModule) -> None:
        self.depth = DepthMetrics(**{**vars(module.evaluation), "edges": False})
        self.grain = Grain()
        self.spectrum = Spectrum()
        self.angles: list[Tensor] = []

    def add(self, predicted: Tensor, batch: dict[str, Any], flat: Tensor) -> None:
        """Add a batch of predictions ``(B, 1, H, W)``."""
        depth, mask = batch["depth"], batch["depth_mask"]
        self.depth.update(predicted, target_m=depth, mask=mask, depth_scale_m=batch["depth_scale_m"])
        self.grain.update(predicted, target_m=depth, mask=mask)
        self.spectrum.add(predicted, batch["image"], flat)
        normal, defined = normals_from_points(unproject(predicted, batch["K"]), radius=NORMAL_RADIUS)
        true, known = normals_from_points(unproject(fill_outside(depth, mask), batch["K"]), radius=TRUE_NORMAL_RADIUS)
        both = flat & defined & known
        cosine = (normal * true).sum(dim=1, keepdim=True).clamp(-1, 1)
        self.angles.append(torch.rad2deg(torch.acos(cosine))[both])

    def text(self, name: str) -> str:
        """The row of the table."""
        absrel = next(float(value) for key, value in self.depth.compute().items() if key.startswith("abs_rel"))
        grains = " | ".join(f"{100 * float(value):.2f}" for value in self.grain.compute().values())
        angles = torch.cat(self.angles)
        angle = float(angles.median()) if len(angles) else float("nan")
        shares = " / ".join(f"{share:.2f}" for share in self.spectrum.shares())
        explained = self.spectrum.explained / self.spectrum.total if self.spectrum.total > 0 else float("nan")
        return f"| {name} | {absrel:.3f} | {grains} | {angle:.1f} | {explained:.2f} | {shares} |\n"


HEADER = (
    "| | AbsRel | " + " | ".join(f"grain {window} px, %" for window in WINDOWS) + " | normals, degrees (median) "
    "| explained by brightness | wavelength 2-3 / 3-5 / 5-9 / 9-17 px |\n" + "|---" * (len(WINDOWS) + 5) + "|\n"
)


@torch.no_grad()
def study(module: DepthModule, frames: Dataset[Sample]) -> str:
    """Table of one checkpoint on unaugmented frames with depth."""
    module.eval()
    generator = torch.Generator().manual_seed(0)

    def changed(change: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Any]], Tensor]:
        return lambda batch: module.predict_depth({**batch, "image": change(batch["image"])})  # type: ignore[typeddict-item]

    def noisier(image: Tensor) -> Tensor:
        return (image + NOISE * torch.randn(image.shape, generator=generator)).clamp(0, 1)

    quantity = module.flip_quantity
    ways: dict[str, Callable[[dict[str, Any]], Tensor]] = {
        "as it is": changed(lambda image: image),
        "blended with the mirror image": lambda batch: blended_with_mirror_image(
            changed(lambda image: image), batch, quantity=quantity
        ),
        f"input blurred by {BLUR_PX:g} px": changed(lambda image: gaussian_blur(image, [5, 5], [BLUR_PX, BLUR_PX])),
        f"input with noise of {NOISE:g}": changed(noisier),
        "ground truth": lambda batch: batch["depth"],
    }
    rows = {name: Row(module) for name in ways}
    for batch in DataLoader(frames, batch_size=BATCH):
        flat = flat_windows(batch["depth"], batch["depth_mask"], window=max(WINDOWS), flatness=FLATNESS)
        for name, predict in ways.items():
            rows[name].add(predict(batch), batch, flat)
    return HEADER + "".join(row.text(name) for name, row in rows.items())


def load_modules(checkpoints: list[Path]) -> list[DepthModule]:
    """The modules of all checkpoints.

    Raises:
        ValueError: If a file is no checkpoint of a depth paper, or is damaged.
        FileNotFoundError: If a file does not exist.
    """
    modules = []
    for checkpoint in checkpoints:
        module = load_module(checkpoint)
        if not isinstance(module, DepthModule):
            raise ValueError(
                f"'{checkpoint}' holds a {type(module).__name__}, but a paper that predicts depth is needed"
            )
        modules.append(module)
    return modules


def main(args: list[str] | None = None) -> int:
    """Print the tables.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 with one sentence if checkpoint, data or file cannot be used, 2 for a wrong call.
    """
    parser = data_parser("tools.studies.grain_study", __doc__)
    parser.add_argument(
        "--checkpoints", nargs="+", type=Path, required=True, help="checkpoints of papers that predict depth"
    )
    parser.add_argument("--split", type=str, choices=get_args(Split), default="test", help="split of the frames")

    def run(options: Any) -> None:
        modules = load_modules(options.checkpoints)  # before the frames are read
        with few_messages():
            frames = unaugmented_frames(parser.instantiate(options).data, [options.split])
        for checkpoint, module in zip(options.checkpoints, modules, strict=True):
            sys.stdout.write(f"{checkpoint}\n\n{study(module, frames)}\n")
            sys.stdout.flush()

    return run_tool(parser, run, with_default_data(args, ROOMS))


if __name__ == "__main__":
    sys.exit(main())
