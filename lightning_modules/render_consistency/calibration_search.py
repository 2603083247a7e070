"""Grid search for the shift and the focal length of a domain with a frozen network.

Ranges are the same for all domains and networks, and independent of ground truth.
"""

import dataclasses
import math

import torch
from torch import Tensor

from geometry.camera import focal_from_field_of_view, intrinsics_from_field_of_view
from geometry.camera_check import USUAL_FIELD_OF_VIEW_DEGREES
from lightning_modules.render_consistency.calibration_views import (
    Network,
    Turn,
    ViewPredictions,
    concatenate,
    predict_views,
    subsample,
)
from lightning_modules.render_consistency.curve_estimates import (
    Estimate,
    bootstrap,
    lowest_point,
    trimmed_mean,
    zero_crossing,
)
from lightning_modules.render_consistency.disagreement import (
    Disagreement,
    comparable_part,
    rendered_disagreement,
    shift_curves,
)
from lightning_modules.render_consistency.view_sampling import About
from renderers.splat import SplatRenderer
from structures.choices import Quantity

SHIFTS = torch.linspace(-0.6, 1.5, 43)
"""Grid of constants, in medians of the output over the domain: the same for all domains and networks."""
FIELDS_OF_VIEW = tuple(range(40, 91, 5))
"""Grid of horizontal fields of view, degrees."""
USUAL_FIELD_OF_VIEW = USUAL_FIELD_OF_VIEW_DEGREES
"""Horizontal field of view assumed for unknown cameras, degrees (LeReS)."""
BATCH = 16


@dataclasses.dataclass(frozen=True)
class Domain:
    """Images of one source and a frozen network.

    Args:
        image: ``(N, 3, H, W)``.
        K: ``(N, 3, 3)``, pixels.
        network: Maps images and intrinsics to the output.
        output: Whether that is depth or disparity.
        turns: Turns of the camera for a field of view of 60 degrees.
    """

    image: Tensor
    K: Tensor
    network: Network
    output: Quantity
    turns: tuple[Turn, ...]

    @property
    def unit(self) -> float:
        """Median of the network's output over the domain: the unit of the grid of shifts.

        Raises:
            ValueError: If it is not positive and finite.
        """
        with torch.no_grad():
            medians = [self.network(image, K).flatten(1).median(dim=1).values for image, K in self._batches()]
        unit = float(torch.cat(medians).median())
        if not (math.isfinite(unit) and unit > 0):
            raise ValueError(f"the median of the network's output over the images is {unit:g}, but must be positive")
        return unit

    def _batches(self) -> list[tuple[Tensor, Tensor]]:
        return list(zip(self.image.split(BATCH), self.K.split(BATCH), strict=True))

    def predictions(self) -> ViewPredictions:
        """The network's output for rotated views of the images, every second row and column."""
        parts = [predict_views(self.network, image, K, self.turns) for image, K in self._batches()]
        return concatenate([subsample(part, 2) for part in parts])

    def at_field_of_view(self, degrees: float) -> "Domain":
        """The domain under the assumption of a horizontal field of view.

        The turns change with it so that the image moves by the same number of pixels at every field of view.
        """
        height, width = self.image.shape[-2:]
        K = intrinsics_from_field_of_view(math.radians(degrees), height=height, width=width)
        usual, here = (focal_from_field_of_view(math.radians(d), width) for d in (USUAL_FIELD_OF_VIEW, degrees))
        turns = tuple(Turn(*(math.atan(math.tan(angle) * usual / here) for angle in turn)) for turn in self.turns)
        return dataclasses.replace(self, K=K.to(self.K).expand(len(self.K), 3, 3), turns=turns)

    def rendered_curves(self, shifts: Tensor) -> Disagreement:
        """Disagreement over a grid of shifts with rotated and rendered scenes, ``(G, N)`` each."""
        renderer = SplatRenderer()
        rows = []
        for shift in shifts.tolist():
            parts = [
                rendered_disagreement(self.network, renderer, image, K, self.turns, shift, output=self.output)
                for image, K in self._batches()
            ]
            rows.append([torch.cat(values, dim=1).mean(dim=0) for values in zip(*parts, strict=True)])
        return Disagreement(*(torch.stack(values) for values in zip(*rows, strict=True)))


@dataclasses.dataclass(frozen=True)
class ShiftResult:
    """The shift of a domain, in the unit of the network's output."""

    signed: Estimate
    """Shift at which the disagreement has no slope along the rotation."""
    smallest: Estimate
    """Shift of the smallest disagreement in spreads of depth."""
    relative: Estimate
    """Shift of the smallest bounded relative disagreement, as in the paper; often there is no minimum."""
    unit: float
    shifts: Tensor
    """``(G,)``, the usable part of the grid."""
    curves: Disagreement
    """``(G, N)`` each, of the images that can be compared at all of these shifts."""


def find_shift(domain: Domain, *, about: About = "camera", unit: float | None = None, seed: int = 0) -> ShiftResult:
    """The constant to add to the network's output, with known intrinsics.

    Args:
        domain: Images and network.
        about: ``camera`` rotates the camera about its centre, ``scene`` the scene about a pivot.
        unit: The unit of the grid of shifts; None takes the domain's.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: If the output is not positive, or too few shifts leave the scenes in front of the camera.
    """
    unit = domain.unit if unit is None else unit
    shifts = SHIFTS * unit
    if about == "camera":
        curves = shift_curves(domain.predictions(), shifts, output=domain.output)
    else:
        curves = domain.rendered_curves(shifts)
    shifts, curves = comparable_part(shifts, curves)
    return ShiftResult(
        bootstrap(shifts, curves.slope, place=zero_crossing, seed=seed),
        bootstrap(shifts, curves.spread, place=lowest_point, seed=seed),
        bootstrap(shifts, curves.relative, place=lowest_point, seed=seed),
        unit,
        shifts,
        curves,
    )


@dataclasses.dataclass(frozen=True)
class FocalResult:
    """The field of view of a domain, degrees."""

    smallest: Estimate
    """Field of view of the smallest disagreement in spreads of depth."""
    signed: Estimate
    """Field of view at which the disagreement has no slope along the rotation."""
    curves: Disagreement
    """``(F, N)`` each, over :data:`FIELDS_OF_VIEW`."""
    shifts: Tensor
    """``(F,)``, the shift that was given, or found, at each field of view."""


def find_focal(domain: Domain, *, shift: float | None, seed: int = 0) -> FocalResult:
    """The horizontal field of view of the images, with a known shift or together with the shift.

    Args:
        domain: Images and network; its own intrinsics are not used.
        shift: The shift in the unit of the output, or None to find both.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: As :func:`find_shift`.
    """
    unit = domain.unit
    rows, shifts = [], []
    for degrees in FIELDS_OF_VIEW:
        predictions = domain.at_field_of_view(degrees).predictions()
        here = shift
        if here is None:
            grid = SHIFTS * unit
            grid, tried = comparable_part(grid, shift_curves(predictions, grid, output=domain.output))
            here, _ = zero_crossing(grid, trimmed_mean(tried.slope))
        rows.append(shift_curves(predictions, torch.tensor([here]), output=domain.output))
        shifts.append(here)
    curves = Disagreement(*(torch.cat(values) for values in zip(*rows, strict=True)))
    grid = torch.tensor(FIELDS_OF_VIEW, dtype=torch.float32)
    return FocalResult(
        bootstrap(grid, curves.spread, place=lowest_point, seed=seed),
        # A wider assumed field of view rotates the scene less for the same number of pixels; the slope rises with it.
        bootstrap(grid, curves.slope, place=zero_crossing, seed=seed),
        curves,
        torch.tensor(shifts),
    )
