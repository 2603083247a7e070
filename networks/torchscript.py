"""A depth network from a TorchScript file, as exported by other projects.

Loading such a file executes its code: load only files from a trusted source.
"""

import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geometry.written_depth import depth_from_values

_PLAIN_MEAN = (0.0, 0.0, 0.0)
_PLAIN_STD = (1.0, 1.0, 1.0)


def is_torchscript(path: Path) -> bool:
    """Whether a file is a complete TorchScript archive, without executing its code."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
    inner = [name.partition("/")[2] for name in names]
    return "constants.pkl" in inner and any(name.startswith("code/") for name in inner)


class TorchScriptDepth(nn.Module):
    """Depth from a TorchScript network, with resizing and normalisation of the images.

    The network maps (B, 3, h, w) to (B, 1, h', w') or (B, h', w'), or to a tuple or dict with one such tensor.

    Args:
        path: the file.
        input_size: height and width of the network's input; None keeps the size of the images.
        mean: mean of each channel, subtracted from RGB in [0, 1].
        std: standard deviation of each channel, by which the difference is divided.
        units_per_metre: unit of the output, see `geometry.written_depth.depth_from_values`; None for relative depth.
        inverse: whether larger output is nearer.
        common_unit: for relative inverse depth, see `geometry.written_depth.depth_from_inverse`.

    Attributes:
        inverse: whether the network predicts inverse depth.
        relative: whether its depth is in an arbitrary unit.

    Raises:
        ValueError: the file is not TorchScript or damaged, or a number is out of range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        input_size: tuple[int, int] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        units_per_metre: float | None = None,
        inverse: bool = False,
        common_unit: bool = False,
    ) -> None:
        super().__init__()
        mean, std = _PLAIN_MEAN if mean is None else tuple(mean), _PLAIN_STD if std is None else tuple(std)
        finite = all(torch.isfinite(torch.tensor([*mean, *std])).tolist())
        if len(mean) != 3 or len(std) != 3 or not finite or min(std) <= 0:
            raise ValueError(f"mean {mean} and std {std} must be three finite numbers each, those of std positive")
        if input_size is not None and min(input_size) < 1:
            raise ValueError(f"the input size is {tuple(input_size)}, but height and width of at least 1 are needed")
        if units_per_metre is not None and not 0 < units_per_metre < float("inf"):
            raise ValueError(f"there are {units_per_metre:g} units in a metre, but a positive number is needed")
        self.path = Path(path)
        self.input_size = None if input_size is None else (int(input_size[0]), int(input_size[1]))
        self.units_per_metre = units_per_metre
        self.inverse = inverse
        self.relative = units_per_metre is None
        self.common_unit = common_unit
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))
        if not is_torchscript(self.path):
            raise ValueError(f"'{path}' is no TorchScript file, or it is damaged or truncated")
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated.*")
                network = torch.jit.load(str(self.path), map_location="cpu")
        except Exception as error:  # torch's reader raises many unrelated types
            raise ValueError(f"the TorchScript file '{path}' cannot be loaded: {_last_line(error)}") from error
        self.network = cast(nn.Module, network.eval())

    def forward(self, image: Tensor) -> Tensor:
        """Depth of images.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], any size.

        Returns:
            (B, 1, H, W) depth, not negative, 0 where the output is NaN: metres, or relative depth.

        Raises:
            ValueError: the network fails on the images, or its output is not a depth map.
        """
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"The image must be (B, 3, H, W), got {tuple(image.shape)}.")
        size = (image.shape[-2], image.shape[-1])
        seen = image if self.input_size in (None, size) else _resized(image, self.input_size or size)
        try:
            answer = self.network((seen - cast(Tensor, self.mean)) / cast(Tensor, self.std))
        except Exception as error:  # the network's code may raise anything
            raise ValueError(
                f"the network of '{self.path}' cannot take images of {seen.shape[-2]}x{seen.shape[-1]} (height x "
                f"width; --input-size H W): {_last_line(error)}"
            ) from error
        values = self._values(answer, len(image)).float()
        if values.shape[-2:] != size:
            values = F.interpolate(values, size=size, mode="bilinear", align_corners=False)
        depth = depth_from_values(
            values, units_per_metre=self.units_per_metre, inverse=self.inverse, common_unit=self.common_unit
        )
        empty = ~(depth > 0).flatten(1).any(dim=1)
        if bool(empty.any()):
            nan = bool(values[empty].isnan().all())
            raise ValueError(
                f"the network of '{self.path}' gives {'NaN' if nan else 'no positive value'} everywhere in an image, "
                "so its output is no depth"
            )
        return depth

    def _values(self, answer: Any, count: int) -> Tensor:
        """The depth maps (B, 1, h, w) in the output of the network."""
        if isinstance(answer, Tensor):
            parts = {"": answer}
        elif isinstance(answer, Mapping):
            parts = {f" '{key}'": value for key, value in answer.items() if isinstance(value, Tensor)}
        elif isinstance(answer, list | tuple):
            parts = {f" {place}": value for place, value in enumerate(answer) if isinstance(value, Tensor)}
        else:
            parts = {}
        maps = {
            key: value if value.ndim == 4 else value.unsqueeze(1)
            for key, value in parts.items()
            if _is_map(value, count)
        }
        if len(maps) != 1:
            described = ", ".join(
                f"{key.strip()} {tuple(value.shape)} {value.dtype}".strip() for key, value in parts.items()
            )
            what = "no map" if not maps else f"{len(maps)} maps, of which one cannot be chosen,"
            raise ValueError(
                f"the network of '{self.path}' gives {what} of depth: one floating-point tensor (B, 1, h, w) or "
                f"(B, h, w), alone or in a tuple or dict, is needed for B = {count} images, but it gives "
                f"{described or type(answer).__name__}"
            )
        return next(iter(maps.values()))


def _is_map(value: Tensor, count: int) -> bool:
    shaped = value.ndim == 3 or (value.ndim == 4 and value.shape[1] == 1)
    return shaped and len(value) == count and value.numel() > 0 and value.is_floating_point()


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)


def _last_line(error: Exception) -> str:
    """The last line of the interpreter's report, which is the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
