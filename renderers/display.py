"""Pictures of depth maps, errors, weights, normals and segments: tensors in, RGB tensors out.

Depth and other positive quantities are shown in the *magma* colour map (Smith & van der Walt, 2015, public domain),
whose lightness is uniform: near is bright, far is dark. The signed relative error is white where a prediction is
correct, red where it is too far and blue where it is too near. Each id has a colour, the same in every picture. Pixels
without a value are dark grey.
"""

from colorsys import hsv_to_rgb
from typing import Literal

import torch
from torch import Tensor

INVALID_GREY = 0.2
"""Grey level of pixels without a value; magma contains no pure grey."""

_MAX_SAMPLES = 250_000  # enough for a quantile to three digits, and far below torch.quantile's limit of 16 million

# Every 16th colour of the 256 of magma; linear interpolation is within 3/255 of the full table.
_MAGMA = (
    (0, 0, 4), (10, 8, 34), (29, 17, 71), (54, 16, 107), (80, 18, 124), (105, 28, 129), (130, 38, 129),
    (156, 46, 127), (182, 54, 122), (207, 64, 112), (230, 81, 100), (244, 106, 92), (251, 136, 97), (254, 165, 113),
    (254, 194, 135), (253, 224, 161), (252, 253, 191),
)  # fmt: skip

_N_COLOURS = 64
_GOLDEN = (5**0.5 - 1) / 2
# Hues at multiples of the golden section of the circle are all different, and far apart for neighbouring ids.
_CATEGORIES = tuple(
    hsv_to_rgb(k * _GOLDEN % 1, (0.85, 0.55)[k % 2], (0.95, 0.70)[k // 2 % 2]) for k in range(_N_COLOURS)
)

_TOO_FAR = (0.80, 0.05, 0.05)
_TOO_NEAR = (0.05, 0.20, 0.80)


def _check_map(name: str, value: Tensor) -> None:
    if value.ndim != 4 or value.shape[1] != 1:
        raise ValueError(f"{name} has shape {tuple(value.shape)}, but (B, 1, H, W) is needed")


def magma(position: Tensor) -> Tensor:
    """Colours of the magma map.

    Args:
        position: float ``(B, 1, H, W)``, 0 = dark end, 1 = bright end; values outside are clamped.

    Returns:
        float ``(B, 3, H, W)``, RGB in [0, 1].
    """
    table = torch.tensor(_MAGMA, dtype=position.dtype, device=position.device) / 255
    scaled = position[:, 0].clamp(0, 1) * (len(_MAGMA) - 1)
    lower = scaled.long().clamp(max=len(_MAGMA) - 2)
    weight = (scaled - lower).unsqueeze(-1)
    return torch.lerp(table[lower], table[lower + 1], weight).permute(0, 3, 1, 2)


def magma_table() -> list[str]:
    """The colours of the magma map from dark to bright, evenly spaced, as ``rgb(r,g,b)`` for a web page."""
    return [f"rgb({red},{green},{blue})" for red, green, blue in _MAGMA]


def depth_range(depth: Tensor, *, mask: Tensor | None = None, quantile: float = 0.02) -> tuple[Tensor, Tensor]:
    """Nearest and farthest depth of each map without outliers.

    Args:
        depth: float ``(B, 1, H, W)``, metres.
        mask: bool ``(B, 1, H, W)``, pixels that count; None takes all. Depth <= 0 and non-finite depth never count.
        quantile: Fraction of pixels cut off at each end, in [0, 0.5).

    Returns:
        ``near_m`` and ``far_m``, each ``(B,)``; 1 and 10 metres for a map without a single valid pixel.

    Raises:
        ValueError: If depth is not ``(B, 1, H, W)`` or the quantile is outside [0, 0.5).
    """
    _check_map("depth", depth)
    if not 0 <= quantile < 0.5:
        raise ValueError(f"quantile is {quantile}, but must be in [0, 0.5)")
    valid = torch.isfinite(depth) & (depth > 0)
    if mask is not None:
        valid = valid & mask
    ends = torch.empty(2, len(depth), dtype=torch.float32, device=depth.device)
    cuts = torch.tensor([quantile, 1 - quantile], dtype=torch.float32, device=depth.device)
    for index in range(len(depth)):
        values = depth[index][valid[index]].float()
        values = values[:: values.numel() // _MAX_SAMPLES + 1]
        ends[:, index] = torch.quantile(values, cuts) if len(values) else ends.new_tensor([1.0, 10.0])
    return ends[0], ends[1]


def colorize(
    depth: Tensor,
    *,
    mask: Tensor | None = None,
    near_m: float | Tensor,
    far_m: float | Tensor,
    scale: Literal["log", "inverse"] = "log",
) -> Tensor:
    """Depth as colours, near bright and far dark.

    Args:
        depth: float ``(B, 1, H, W)``, metres; values <= 0 and non-finite values count as invalid.
        mask: bool ``(B, 1, H, W)``, False = invalid; None takes every positive depth as valid.
        near_m: Depth of the bright end, metres > 0, one number or ``(B,)``; nearer depth has the same colour.
        far_m: Depth of the dark end, metres >= ``near_m``, one number or ``(B,)``; farther depth has the same colour.
        scale: ``log`` is linear in the logarithm of depth, ``inverse`` is linear in inverse depth.

    Returns:
        float ``(B, 3, H, W)``, RGB in [0, 1]; invalid pixels are ``INVALID_GREY``.

    Raises:
        ValueError: If depth is not ``(B, 1, H, W)``, or not ``0 < near_m <= far_m``.
    """
    _check_map("depth", depth)
    depth = depth.float()
    near = torch.as_tensor(near_m, dtype=depth.dtype, device=depth.device).reshape(-1, 1, 1, 1)
    far = torch.as_tensor(far_m, dtype=depth.dtype, device=depth.device).reshape(-1, 1, 1, 1)
    if not bool(((near > 0) & (near <= far)).all()):
        raise ValueError(f"near_m={near_m} and far_m={far_m}, but 0 < near_m <= far_m is needed")
    # A constant map has near == far: a tiny range gives it one colour instead of 0/0.
    far = torch.maximum(far, near * (1 + 1e-4))
    valid = torch.isfinite(depth) & (depth > 0)
    if mask is not None:
        valid = valid & mask
    inside = torch.where(valid, depth, near).clamp(min=near, max=far)
    match scale:
        case "log":
            position = (far / inside).log() / (far / near).log()
        case "inverse":
            position = (1 / inside - 1 / far) / (1 / near - 1 / far)
        case _:
            raise ValueError(f"scale is '{scale}', but must be 'log' or 'inverse'")
    return torch.where(valid, magma(position), torch.full_like(position, INVALID_GREY))


def scalar_map(values: Tensor, *, mask: Tensor | None = None, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Weights, residuals or disparities as colours, low dark and high bright.

    Args:
        values: float or bool ``(B, 1, H, W)``; values that are not finite count as invalid.
        mask: bool ``(B, 1, H, W)``, False = invalid; None takes every value as valid.
        low: Value of the dark end; lower values have the same colour.
        high: Value of the bright end, above ``low``; higher values have the same colour.

    Returns:
        float ``(B, 3, H, W)``, RGB in [0, 1]; invalid pixels are ``INVALID_GREY``.

    Raises:
        ValueError: If values are not ``(B, 1, H, W)``, or not ``low < high``.
    """
    _check_map("values", values)
    if not low < high:
        raise ValueError(f"low={low} and high={high}, but low < high is needed")
    values = values.float()
    valid = torch.isfinite(values)
    if mask is not None:
        valid = valid & mask
    position = (torch.where(valid, values, torch.full_like(values, low)) - low) / (high - low)
    return torch.where(valid, magma(position), torch.full_like(position, INVALID_GREY))


def categorical(ids: Tensor, *, mask: Tensor | None = None, ignored: int | None = 0) -> Tensor:
    """Ids of segments, classes or sources as colours, each id with the same colour in every picture.

    There are 64 colours; ids that differ by a multiple of 64 have the same one.

    Args:
        ids: int64 ``(B, H, W)``, at least 0, or of any sign where ``ignored``.
        mask: bool ``(B, 1, H, W)``, False = no id; None takes every id.
        ignored: Id that means *none*, or None if every id is one.

    Returns:
        float ``(B, 3, H, W)``, RGB in [0, 1]; pixels without an id are ``INVALID_GREY``.

    Raises:
        ValueError: If ids are not int64 ``(B, H, W)``.
    """
    if ids.ndim != 3 or ids.dtype is not torch.int64:
        raise ValueError(f"ids are {ids.dtype} of shape {tuple(ids.shape)}, but torch.int64 of (B, H, W) is needed")
    table = torch.tensor(_CATEGORIES, dtype=torch.float32, device=ids.device)
    colours = table[ids.remainder(_N_COLOURS)].permute(0, 3, 1, 2)
    valid = torch.ones_like(ids, dtype=torch.bool) if ignored is None else ids != ignored
    valid = valid.unsqueeze(1)
    if mask is not None:
        valid = valid & mask
    return torch.where(valid, colours, torch.full_like(colours, INVALID_GREY))


def normal_map(normals: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Surface normals as colours: red increases to the right, green upwards and blue towards the camera.

    This is the usual convention, with normals towards the viewer: a wall seen head-on is light blue, a floor green, a
    ceiling purple.

    Args:
        normals: float ``(B, 3, H, W)``, unit vectors in the camera frame (x right, y down, z forward) that point *away*
            from the camera, so that a wall seen head-on has ``(0, 0, 1)``; zero vectors count as invalid.
        mask: bool ``(B, 1, H, W)``, False = invalid; None takes every normal that is not zero.

    Returns:
        float ``(B, 3, H, W)``, RGB in [0, 1]; invalid pixels are ``INVALID_GREY``.

    Raises:
        ValueError: If normals are not ``(B, 3, H, W)``.
    """
    if normals.ndim != 4 or normals.shape[1] != 3:
        raise ValueError(f"normals have shape {tuple(normals.shape)}, but (B, 3, H, W) is needed")
    normals = normals.float()
    valid = torch.isfinite(normals).all(dim=1, keepdim=True) & (normals != 0).any(dim=1, keepdim=True)
    if mask is not None:
        valid = valid & mask
    # Towards the viewer, with y up and z towards the camera: only x changes its sign.
    towards = normals.new_tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1)
    colours = ((1 + towards * normals) / 2).clamp(0, 1)
    return torch.where(valid, colours, torch.full_like(colours, INVALID_GREY))


def error_map(prediction: Tensor, *, target: Tensor, mask: Tensor, max_relative: float = 0.5) -> Tensor:
    """Signed relative error ``(prediction - target) / target`` as colours.

    Args:
        prediction: float ``(B, 1, H, W)``, metres.
        target: float ``(B, 1, H, W)``, metres.
        mask: bool ``(B, 1, H, W)``, pixels with ground truth.
        max_relative: Error of the full colour, > 0; larger errors have the same colour.

    Returns:
        float ``(B, 3, H, W)``, RGB in [0, 1]: white = correct, red = too far, blue = too near, grey = no ground truth.

    Raises:
        ValueError: If shapes are wrong or ``max_relative`` is not positive.
    """
    _check_map("prediction", prediction)
    _check_map("target", target)
    if not max_relative > 0:
        raise ValueError(f"max_relative is {max_relative}, but must be > 0")
    valid = mask & (target > 0) & torch.isfinite(prediction)
    safe_target = torch.where(valid, target, torch.ones_like(target)).float()
    safe_prediction = torch.where(valid, prediction.float(), safe_target)
    amount = ((safe_prediction - safe_target) / safe_target / max_relative).clamp(-1, 1)
    far, near = (amount.new_tensor(colour).view(1, 3, 1, 1) for colour in (_TOO_FAR, _TOO_NEAR))
    colour = 1 - amount.abs() * (1 - torch.where(amount > 0, far, near))
    return torch.where(valid, colour, torch.full_like(colour, INVALID_GREY))


def to_uint8(picture: Tensor) -> Tensor:
    """A picture ``(3, H, W)`` in [0, 1] as uint8 ``(H, W, 3)`` on the CPU, rounded to the nearest level."""
    return (picture.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu()
