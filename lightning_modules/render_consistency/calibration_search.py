"""The search for a domain's shift and focal length with a frozen network: grids, curves and intervals.

Ranges and starts are the same for all domains and networks, and independent of any truth.
"""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from geometry.camera import focal_from_field_of_view, intrinsics_from_field_of_view
from geometry.camera_check import USUAL_FIELD_OF_VIEW_DEGREES
from lightning_modules.render_consistency.calibration import (
    Answers,
    Disagreement,
    Estimate,
    Turn,
    ask,
    bootstrap,
    comparable,
    join,
    lowest_point,
    rendered_disagreement,
    shift_curves,
    thin_out,
    trimmed_mean,
    zero_crossing,
)
from lightning_modules.render_consistency.view_sampling import About
from renderers.splat import SplatRenderer
from structures.choices import Quantity

SHIFTS = torch.linspace(-0.6, 1.5, 43)
"""Constants that are tried, in medians of the output over the domain: the same for all domains and networks."""
FIELDS_OF_VIEW = tuple(range(40, 91, 5))
"""Horizontal fields of view that are tried, degrees."""
USUAL_FIELD_OF_VIEW = USUAL_FIELD_OF_VIEW_DEGREES
"""What is assumed of images of unknown cameras, degrees (LeReS)."""
BATCH = 16


@dataclasses.dataclass(frozen=True)
class Domain:
    """Images of one source with a frozen network that answers about them.

    Args:
        image: ``(N, 3, H, W)``.
        K: ``(N, 3, 3)``, pixels.
        network: Maps images and intrinsics to the output.
        output: Whether that is depth or disparity.
        turns: Turns of the camera for a field of view of 60 degrees.
    """

    image: Tensor
    K: Tensor
    network: Callable[[Tensor, Tensor], Tensor]
    output: Quantity
    turns: tuple[Turn, ...]

    @property
    def unit(self) -> float:
        """Median of the network's output over the domain: the unit in which shifts are tried."""
        with torch.no_grad():
            medians = [self.network(image, K).flatten(1).median(dim=1).values for image, K in self._batches(self.K)]
        unit = float(torch.cat(medians).median())
        if not (math.isfinite(unit) and unit > 0):
            raise ValueError(f"the median of the network's output over the images is {unit:g}, but has to be positive")
        return unit

    def _batches(self, K: Tensor) -> list[tuple[Tensor, Tensor]]:
        return list(zip(self.image.split(BATCH), K.split(BATCH), strict=True))

    def answers(self, K: Tensor | None = None) -> Answers:
        """What the network says of the photos and of turned views, under other intrinsics if given."""
        K = self.K if K is None else K
        return join([thin_out(ask(self.network, image, part, self.turns), 2) for image, part in self._batches(K)])

    def at_field_of_view(self, degrees: float) -> "Domain":
        """The same images as if their cameras had that horizontal field of view.

        Turns change with it so that the picture moves by as many pixels at every field of view.
        """
        height, width = self.image.shape[-2:]
        K = intrinsics_from_field_of_view(math.radians(degrees), height=height, width=width)
        usual, here = (focal_from_field_of_view(math.radians(d), width) for d in (USUAL_FIELD_OF_VIEW, degrees))
        turns = tuple(Turn(*(math.atan(math.tan(angle) * usual / here) for angle in turn)) for turn in self.turns)
        return dataclasses.replace(self, K=K.to(self.K).expand(len(self.K), 3, 3), turns=turns)

    def rendered_curves(self, shifts: Tensor) -> Disagreement:
        """Curves over the shift with scenes that are turned and rendered, ``(G, N)`` each."""
        renderer = SplatRenderer()
        rows = []
        for shift in shifts.tolist():
            parts = [
                rendered_disagreement(self.network, renderer, image, K, self.turns, shift, output=self.output)
                for image, K in self._batches(self.K)
            ]
            rows.append([torch.cat(values, dim=1).mean(dim=0) for values in zip(*parts, strict=True)])
        return Disagreement(*(torch.stack(values) for values in zip(*rows, strict=True)))


@dataclasses.dataclass(frozen=True)
class ShiftResult:
    """The shift of a domain, in the unit of the network's output."""

    signed: Estimate
    """Where the disagreement has no slope along the turn."""
    smallest: Estimate
    """Where the disagreement in spreads of depth is smallest."""
    relative: Estimate
    """Where the bounded relative disagreement is smallest: the paper's, which often has no minimum."""
    unit: float
    shifts: Tensor
    """``(G,)``, the constants that could be tried."""
    curves: Disagreement
    """``(G, N)`` each, of the images that could be compared at all of them."""


def find_shift(domain: Domain, *, about: About = "camera", unit: float | None = None, seed: int = 0) -> ShiftResult:
    """The constant that the network's output lacks, the camera being known.

    Args:
        domain: Images and network.
        about: Whether the camera turns about its centre, or the scene about its own.
        unit: The unit in which shifts are tried; None takes the domain's.
        seed: Of the bootstrap.
    """
    unit = domain.unit if unit is None else unit
    shifts = SHIFTS * unit
    if about == "camera":
        curves = shift_curves(domain.answers(), shifts, output=domain.output)
    else:
        curves = domain.rendered_curves(shifts)
    shifts, curves = comparable(shifts, curves)
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
    """Where the disagreement in spreads of depth is smallest."""
    signed: Estimate
    """Where the disagreement has no slope along the turn."""
    curves: Disagreement
    """``(F, N)`` each, over :data:`FIELDS_OF_VIEW`."""
    shifts: Tensor
    """``(F,)``, the shift that was assumed, or found, at each field of view."""


def find_focal(domain: Domain, *, shift: float | None, seed: int = 0) -> FocalResult:
    """The field of view of the images, the shift being known or sought anew for each.

    Args:
        domain: Images and network; its own intrinsics are not looked at.
        shift: The shift in the unit of the output, or None to find both.
        seed: Of the bootstrap.
    """
    unit = domain.unit
    rows, shifts = [], []
    for degrees in FIELDS_OF_VIEW:
        answers = domain.at_field_of_view(degrees).answers()
        here = shift
        if here is None:
            grid = SHIFTS * unit
            grid, tried = comparable(grid, shift_curves(answers, grid, output=domain.output))
            here, _ = zero_crossing(grid, trimmed_mean(tried.slope))
        rows.append(shift_curves(answers, torch.tensor([here]), output=domain.output))
        shifts.append(here)
    curves = Disagreement(*(torch.cat(values) for values in zip(*rows, strict=True)))
    grid = torch.tensor(FIELDS_OF_VIEW, dtype=torch.float32)
    return FocalResult(
        bootstrap(grid, curves.spread, place=lowest_point, seed=seed),
        # A wider assumed field of view turns the scene less for as many pixels; the slope rises with it.
        bootstrap(grid, curves.slope, place=zero_crossing, seed=seed),
        curves,
        torch.tensor(shifts),
    )
