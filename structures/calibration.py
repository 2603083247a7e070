"""Result of calibrating a frozen depth network in one domain: the shift of its output, and the field of view.

A network trained up to scale and shift predicts depth, or disparity, up to an unknown shift. The shift is the same for
all images of a domain, so that it is estimated once, stored, and added to every prediction:

    depth        D = output + shift
    disparity    D = 1 / (output + shift)

``output`` is the network's prediction in its own unit: depth, or the inverse of that depth. The scale remains unknown
(scale ambiguity).
"""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any, Self, get_args

import torch
import yaml
from torch import Tensor

from geometry.camera import intrinsics_from_field_of_view
from geometry.camera_check import check_field_of_view
from structures.choices import Quantity
from structures.files import write_atomically

Interval = tuple[float, float]

FLOOR_OF_LARGEST = 1e-3
"""Smallest shifted output, as a fraction of the largest in its image: a prediction keeps every pixel, and has to be
positive. (Training and calibration judge by the image's median instead, see
``lightning_modules.render_consistency.shifted_depth.FLOOR_OF_MEDIAN``.)"""

_HEADER = "# Calibration of a depth network: depth = output + shift, and 1 / (output + shift) for disparity\n"


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Shift and field of view of a domain, with their confidence intervals.

    Args:
        output: Whether the shift belongs to the depth of the network or to its disparity (inverse depth).
        shift: Added to the network's output, in its unit.
        shift_interval: Lower and upper end of the interval of the shift; contains the shift.
        domain: Data set or folder of the images.
        teacher: Checkpoint or model of the hub that was calibrated.
        images: Number of images.
        field_of_view_degrees: Horizontal field of view, 5 to 170, or None if it was not estimated.
        field_of_view_interval: Its interval, or None.

    Raises:
        ValueError: If a value is not finite, out of its range or outside its interval; the message names it.
    """

    output: Quantity
    shift: float
    shift_interval: Interval
    domain: str
    teacher: str
    images: int
    field_of_view_degrees: float | None = None
    field_of_view_interval: Interval | None = None

    def __post_init__(self) -> None:
        if self.output not in get_args(Quantity):
            raise ValueError(f"output is {self.output!r}, but must be one of {', '.join(get_args(Quantity))}")
        _check_number("shift", self.shift, self.shift_interval)
        if self.field_of_view_degrees is not None:
            interval = self.field_of_view_interval
            _check_number("field_of_view_degrees", self.field_of_view_degrees, interval)
            ends = (self.field_of_view_degrees,) if interval is None else interval
            for end in ends:
                check_field_of_view(end)
        elif self.field_of_view_interval is not None:
            raise ValueError("field_of_view_interval is given without field_of_view_degrees")
        for name in ("domain", "teacher"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {getattr(self, name)!r}, but must be a string")
        if isinstance(self.images, bool) or not isinstance(self.images, int) or self.images < 1:
            raise ValueError(f"images is {self.images!r}, but must be a whole number of at least 1")

    def to_depth(self, output: Tensor) -> Tensor:
        """Depth from the output of the network.

        Args:
            output: Float ``(B, 1, H, W)``, depth or disparity according to ``self.output``, in the network's unit.

        Returns:
            ``(B, 1, H, W)`` in at least float32, positive, up to one factor. ``output + shift`` is clamped to at least
            ``FLOOR_OF_LARGEST`` of the largest in its image; 0 (no measurement) everywhere in an image without a
            positive value. NaN stays NaN.

        Raises:
            ValueError: If the output has another shape.
        """
        if output.ndim != 4 or output.shape[1] != 1:
            raise ValueError(f"the output has shape {tuple(output.shape)}, but (B, 1, H, W) is needed")
        values = output.to(torch.promote_types(output.dtype, torch.float32)) + self.shift
        largest = values.amax(dim=(1, 2, 3), keepdim=True)
        nothing = largest <= 0
        values = values.clamp(min=torch.where(nothing, 1.0, FLOOR_OF_LARGEST * largest))
        return torch.where(nothing, 0.0, values if self.output == "depth" else 1 / values)

    def correct(self, depth: Tensor) -> Tensor:
        """Depth of a prediction with the shift added, to the depth or to its inverse.

        Args:
            depth: Float ``(B, 1, H, W)``, prediction without calibration; positive if the shift is one of disparity.

        Returns:
            See :meth:`to_depth`.

        Raises:
            ValueError: If the depth has another shape.
        """
        return self.to_depth(depth if self.output == "depth" else 1 / depth)

    def intrinsics(self, height: int, width: int) -> Tensor:
        """Intrinsics of an image of the domain: square pixels, principal point at the centre.

        Args:
            height: Rows.
            width: Columns.

        Returns:
            float32 ``(3, 3)``, pixels, corner convention.

        Raises:
            ValueError: If the calibration has no field of view.
        """
        if self.field_of_view_degrees is None:
            raise ValueError("the calibration has no field of view, so there are no intrinsics")
        return intrinsics_from_field_of_view(math.radians(self.field_of_view_degrees), height=height, width=width)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a YAML file atomically; numbers keep all their digits.

        Args:
            path: Target; missing folders are made, an existing file is replaced.

        Raises:
            OSError: If the file cannot be written.
        """
        values = {
            name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()
        }
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None)
        write_atomically(path, [(_HEADER + text).encode("utf-8")])

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a calibration file.

        Args:
            path: A YAML file with the arguments of this class; those with a default may be left out.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it is not a calibration file; one sentence that names the file and the reason.
        """
        try:
            values: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"calibration '{path}' is not a YAML file: {' '.join(str(error).split())}") from error
        if not isinstance(values, dict):
            raise ValueError(f"calibration '{path}' has no keys with values")
        fields = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(cls)}
        missing = [name for name, needed in fields.items() if needed and name not in values]
        unknown = [str(name) for name in values if name not in fields]
        if missing or unknown:
            problems = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(unknown)}"] * bool(
                unknown
            )
            raise ValueError(f"calibration '{path}' {' and '.join(problems)}; its keys are {', '.join(fields)}")
        for name in ("shift_interval", "field_of_view_interval"):
            if isinstance(values.get(name), list):
                values[name] = tuple(values[name])
        try:
            return cls(**values)
        except ValueError as error:
            raise ValueError(f"calibration '{path}': {error}") from error


def shift_of_metres(shift: float, output: Quantity) -> str:
    """Warning about a shift for a network that predicts metres, one sentence without a full stop.

    Args:
        shift: The shift.
        output: Whether it is added to the depth in metres or to its inverse.
    """
    unit = "m to the depth" if output == "depth" else "1/m to the inverse depth"
    return (
        f"this network predicts metres, and the calibration adds {shift:+.3g} {unit} of it: omit the calibration, "
        "unless its depth is known to be off by this constant"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_number(name: str, value: object, interval: object) -> None:
    if not _is_number(value):
        raise ValueError(f"{name} is {value!r}, but must be a finite number")
    if interval is None:
        return
    if not isinstance(interval, tuple) or len(interval) != 2 or not all(map(_is_number, interval)):
        raise ValueError(f"the interval of {name} is {interval!r}, but must be two finite numbers")
    if not interval[0] <= value <= interval[1]:
        raise ValueError(f"{name} is {value}, but its interval is {_range_text(interval)}, which does not contain it")


def _range_text(numbers: tuple[Any, ...]) -> str:
    return " to ".join(f"{number:g}" for number in numbers)
