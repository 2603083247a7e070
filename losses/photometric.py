"""The photometric error of self-supervised depth, per pixel, and its minimum over warped and unwarped neighbours.

This is the hot path of every self-supervised step, so it is arranged by hand. The window statistics of the target are
taken once for all candidates. The SSIM of a candidate is written in its difference to the target, which needs three
window sums instead of the usual five and loses no digits where the two are alike. Its derivative is closed-form: three
maps per candidate are kept for the backward pass instead of some twenty. All work on a candidate is in-place, in pieces
that fit into a CPU's cache.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from geometry.stencils import at_least_float32
from losses.ssim import K1, K2

CHUNK_ELEMENTS = 2**19
"""Values of one map that a CPU works on at a time: nine such float32 maps fit into 20 MB of cache. Smaller pieces would
stay closer to a core, but every operation on one makes the threads meet, which is dear where other work shares them."""


class _TargetStatistics(NamedTuple):
    """What the SSIM needs of the target; ``y`` is the image, ``z = y - 1/2``, ``mu`` a mean over the 3x3 window.

    Images are ``(B, C, H, W)``. Maps are ``(B, C, H + 2, W + 2)``, see :func:`_window_sums`.
    """

    image: Tensor
    """``y``."""
    centred: Tensor
    """``z``. The variance does not care about the shift and loses fewer digits in ``E[z^2] - E[z]^2``."""
    centred_reflected: Tensor
    """``z`` with a reflected border of one pixel."""
    mean_18: Tensor
    """``18 mu_y``."""
    mean_centred: Tensor
    """``mu_z``."""
    luminance: Tensor
    """``81 (2 mu_y^2 + C1)``."""
    contrast: Tensor
    """``9 (2 var_y + C2)``."""

    def chunk(self, images: slice) -> "_TargetStatistics":
        return _TargetStatistics(*(field[images] for field in self))


def _window_sums(maps: Tensor, rows: Tensor, stride: int) -> Tensor:
    """Sum every 3x3 window, as four long additions over memory in which rows and planes follow one another.

    Args:
        maps: ``(..., N)``, each a stack of planes with rows of ``stride`` values, border included; overwritten.
        rows: ``(..., N)``, memory for the intermediate sums.
        stride: values from one row to the next.

    Returns:
        View ``(..., N - 2 * stride - 2)`` into ``maps``: the sum of a window stands where its first value was. Windows
        that run over the end of a row or plane hold sums that mean nothing, to be ignored by the caller.
    """
    width, height = maps.shape[-1] - 2, maps.shape[-1] - 2 - 2 * stride
    rows = torch.add(maps[..., :width], maps[..., 1:-1], out=rows[..., :width])
    rows += maps[..., 2:]
    sums = torch.add(rows[..., :height], rows[..., stride:-stride], out=maps[..., :height])
    sums += rows[..., 2 * stride :]
    return sums


def _reflect_border(planes: Tensor) -> None:
    """Fill the one-pixel border of ``(..., H + 2, W + 2)`` with the reflection of the inside, in place."""
    planes[..., 0, 1:-1] = planes[..., 2, 1:-1]
    planes[..., -1, 1:-1] = planes[..., -3, 1:-1]
    planes[..., 0] = planes[..., 2]
    planes[..., -1] = planes[..., -3]


def _fold_border(planes: Tensor) -> Tensor:
    """Transpose of :func:`_reflect_border`: add the border to what it mirrors, in place, and return the inside."""
    planes[..., 2, :] += planes[..., 0, :]
    planes[..., -3, :] += planes[..., -1, :]
    planes[..., 2] += planes[..., 0]
    planes[..., -3] += planes[..., -1]
    return planes[..., 1:-1, 1:-1]


def _target_statistics(target: Tensor) -> _TargetStatistics:
    height, width = target.shape[-2:]
    maps = target.new_zeros(3, *target.shape[:2], height + 2, width + 2)
    maps[0, ..., 1:-1, 1:-1] = target
    maps[1, ..., 1:-1, 1:-1] = centred = target - 0.5
    _reflect_border(maps[:2])
    reflected = maps[1].clone()
    torch.mul(reflected, reflected, out=maps[2])
    flat = maps.view(3, -1)
    _window_sums(flat, torch.empty_like(flat), width + 2)
    total, total_centred, squares = maps
    variance_9 = torch.addcmul(squares, total_centred, total_centred, value=-1 / 9)
    return _TargetStatistics(
        image=target,
        centred=centred,
        centred_reflected=reflected,
        mean_18=2 * total,
        mean_centred=total_centred / 9,
        luminance=2 * total.square() + 81 * K1**2,
        contrast=2 * variance_9 + 9 * K2**2,
    )


def _chunks(images: Tensor) -> list[tuple[slice, slice]]:
    """Pieces ``(candidates, images of the batch)`` of ``(S, B, C, H, W)``; one piece where there is no CPU cache.

    The first piece is the largest.
    """
    n_candidates, n_images = images.shape[:2]
    if images.device.type != "cpu":
        return [(slice(0, n_candidates), slice(0, n_images))]
    size = math.ceil(n_images / min(n_images, math.ceil(images[0].numel() / CHUNK_ELEMENTS)))
    together = max(1, CHUNK_ELEMENTS // images[0, :size].numel())
    return [
        (slice(first, min(first + together, n_candidates)), slice(start, min(start + size, n_images)))
        for start in range(0, n_images, size)
        for first in range(0, n_candidates, together)
    ]


class _PhotometricError(Function):
    """Error maps of all candidates against one target, with the derivative with respect to the candidates.

    With the difference ``d = x - y``, a mean over the window ``mu`` and ``var``, ``cov`` of the window, SSIM is
    ``(1 - a) (1 - b)`` where ``a = mu_d^2 / (mu_x^2 + mu_y^2 + C1)`` and ``b = var_d / (var_x + var_y + C2)``; there
    ``mu_x = mu_d + mu_y`` and ``var_x + var_y = var_d + 2 cov_dy + 2 var_y``. So the windows have to be summed over
    ``d``, ``d^2`` and ``d z`` only. Factors of 9 are carried along instead of dividing the sums by them.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, statistics: _TargetStatistics, ssim_weight: float) -> Tensor:
        n_images, n_candidates, channels, height, width = images.shape
        stride = width + 2
        images = images.transpose(0, 1)
        chunks = _chunks(images)
        error = images.new_empty(n_images, n_candidates, height, width)
        shape = (len(images[chunks[0][0]]), statistics.mean_18[chunks[0][1]].numel())
        planes_memory, rows_memory, work_memory = images.new_empty(3, 3, *shape).unbind()
        if ctx.needs_input_grad[0]:
            derivatives = images.new_empty(3, n_candidates, *statistics.mean_18.shape)
        for candidates, chunk in chunks:
            part = statistics.chunk(chunk)
            candidate_images = images[candidates, chunk]
            shape = (len(candidate_images), part.mean_18.numel())
            maps, rows, work = (m[:, : shape[0], : shape[1]] for m in (planes_memory, rows_memory, work_memory))
            planes = maps.unflatten(2, part.mean_18.shape)
            torch.sub(candidate_images, part.image, out=planes[0, ..., 1:-1, 1:-1])
            _reflect_border(planes[0])
            torch.mul(planes[0], planes[0], out=planes[1])
            torch.mul(planes[0], part.centred_reflected, out=planes[2])

            # The sum of a window stands one row and one column before its centre.
            size = shape[1] - 2 * stride - 2
            absolute = torch.abs(maps[0, :, stride + 1 : stride + 1 + size], out=work[2, :, :size])
            absolute.mul_(1 - ssim_weight)
            difference, squares, products = _window_sums(maps, rows, stride)
            mean_18, mean_centred, target_luminance, target_contrast = (field.view(-1)[:size] for field in part[3:])
            variance = squares.addcmul_(difference, difference, value=-1 / 9)
            contrast = products.addcmul_(difference, mean_centred, value=-1).mul_(2).add_(variance)
            contrast.add_(target_contrast)
            luminance = torch.add(difference, mean_18, out=rows[0, :, :size]).mul_(difference).add_(target_luminance)
            a = torch.mul(difference, difference, out=rows[1, :, :size]).div_(luminance)
            b = variance.div_(contrast)
            dissimilarity = torch.add(a, b, out=rows[2, :, :size]).addcmul_(a, b, value=-1)
            absolute.add_(dissimilarity, alpha=ssim_weight / 2)
            values = work[2].unflatten(1, part.mean_18.shape)[..., :height, :width]
            torch.sum(values, dim=2, out=error.transpose(0, 1)[candidates, chunk]).div_(channels)
            if ctx.needs_input_grad[0]:
                out = derivatives[:, candidates, chunk].flatten(2)[..., :size]
                _window_derivatives(difference, luminance, contrast, a, b, mean_18, mean_centred, out)
        if ctx.needs_input_grad[0]:
            ctx.statistics, ctx.ssim_weight = statistics, ssim_weight
            ctx.save_for_backward(images, derivatives)
        return error

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        images, derivatives = ctx.saved_tensors
        channels, height, width = images.shape[2:]
        stride = width + 2
        tail = 2 * stride + 2
        chunks = _chunks(images)
        result = images.new_empty(images.transpose(0, 1).shape)
        shape = (len(images[chunks[0][0]]), ctx.statistics.mean_18[chunks[0][1]].numel() + tail)
        spread_memory, rows_memory = images.new_empty(2, 3, *shape).unbind()
        for candidates, chunk in chunks:
            part = ctx.statistics.chunk(chunk)
            candidate_images = images[candidates, chunk]
            upstream = (gradient.transpose(0, 1)[candidates, chunk] / channels).unsqueeze(2)
            shape = (len(candidate_images), part.mean_18.numel())
            spread, rows = (m[:, : shape[0], : shape[1] + tail] for m in (spread_memory, rows_memory))
            # Two empty rows and columns before each plane: the window that then starts at a pixel of the bordered
            # image holds exactly the windows of the forward pass that contain this pixel.
            spread.zero_()
            inside = spread[..., : shape[1]].unflatten(2, part.mean_18.shape)[..., 2:, 2:]
            window = derivatives[:, candidates, chunk, :, :height, :width]
            torch.mul(window, ctx.ssim_weight * upstream, out=inside)
            sums = _window_sums(spread, rows, stride).unflatten(2, part.mean_18.shape)
            direct, by_difference, by_target = _fold_border(sums)

            difference = candidate_images - part.image
            out = torch.addcmul(direct, difference, by_difference, out=result.transpose(0, 1)[candidates, chunk])
            out.addcmul_(part.centred, by_target)
            out.addcmul_(difference.sign_(), (1 - ctx.ssim_weight) * upstream)
        return result, None, None


def _window_derivatives(
    difference: Tensor,
    luminance: Tensor,
    contrast: Tensor,
    a: Tensor,
    b: Tensor,
    mean_18: Tensor,
    mean_centred: Tensor,
    out: Tensor,
) -> None:
    """Derivative of ``(1 - SSIM) / 2`` of a window with respect to a pixel ``x`` in it: ``m0 + d m1 + z m2``.

    ``m0``, ``m1`` and ``m2`` belong to the window, ``d`` and ``z`` are taken at the pixel.

    Args:
        difference: ``D = 9 mu_d`` of each window.
        luminance: ``E1 = 81 (mu_x^2 + mu_y^2 + C1)``.
        contrast: ``E2 = 9 (var_x + var_y + C2)``.
        a: ``D^2 / E1``; overwritten.
        b: ``9 var_d / E2``; overwritten.
        mean_18: ``18 mu_y``.
        mean_centred: ``mu_z``.
        out: ``(3, ..., N)``, becomes ``m0 = (1 - b) (D - a M) / E1 - ((1 - a) D / E2 + m2 Z) / 9`` with
            ``M = 9 mu_x`` and ``Z = D + 9 mu_z``, ``m1 = (1 - a) (1 - b) / E2`` and ``m2 = -(1 - a) b / E2``.
    """
    direct, by_difference, by_target = out
    torch.add(difference, mean_18, alpha=0.5, out=direct).mul_(a).sub_(difference).div_(luminance)
    direct.addcmul_(direct, b, value=-1)  # the first term of m0, negative
    factor = a.neg_().add_(1).div_(contrast)
    torch.mul(factor, b, out=by_target).neg_()
    torch.add(factor, by_target, out=by_difference)
    second = torch.add(difference, mean_centred, alpha=9, out=b).mul_(by_target).addcmul_(factor, difference)
    direct.add_(second, alpha=1 / 9).neg_()


class Photometric:
    """The photometric error against one target: ``w (1 - SSIM) / 2 + (1 - w) |x - y|``, averaged over the channels.

    The window statistics of the target are taken once, here, and serve every call. SSIM uses a 3x3 box with a
    reflected border and biased statistics (Godard et al. 2019, eq. 3 and its released code; papers on rooms keep it).
    Its loss lies in [0, 1] without the clamp of that code.

    Args:
        target: ``(B, C, H, W)``, values in [0, 1], at least 2x2 pixels. Half precision is raised to float32. No
            gradient flows to it.
        ssim_weight: ``w``, the paper's 0.85.

    Raises:
        ValueError: if the shape, the type or the weight is not as said, or the target asks for a gradient.
    """

    def __init__(self, target: Tensor, *, ssim_weight: float = 0.85) -> None:
        if target.ndim != 4 or min(target.shape) < 1 or min(target.shape[-2:]) < 2:
            raise ValueError(
                f"target has the shape {tuple(target.shape)}, but it must be (B, C, H, W) with at least 2x2 pixels."
            )
        if not target.is_floating_point():
            raise ValueError(f"target has type {target.dtype}, but it must be floating point.")
        if target.requires_grad and torch.is_grad_enabled():
            raise ValueError("target asks for a gradient, but the photometric error has none for it; detach it.")
        if not 0 <= ssim_weight <= 1:
            raise ValueError(f"ssim_weight is {ssim_weight}, but it must lie in [0, 1].")
        self.ssim_weight = ssim_weight
        self._statistics = _target_statistics(at_least_float32(target.detach()).contiguous())

    def __call__(self, images: Tensor) -> Tensor:
        """Error of each candidate.

        Args:
            images: ``(B, S, C, H, W)``, ``S`` candidates for each target, values in [0, 1]. Where they need no
                gradient (identity candidates), none is prepared.

        Returns:
            ``(B, S, H, W)`` between 0 and 1, in the target's precision. Differentiable once in ``images``; the
            absolute value has derivative 0 at 0.

        Raises:
            ValueError: if the shape or type does not fit the target.
        """
        target = self._statistics.image
        if images.ndim != 5 or images.shape[1] == 0 or images[:, 0].shape != target.shape:
            raise ValueError(
                f"images have the shape {tuple(images.shape)}, but for a target of {tuple(target.shape)} they must be "
                "(B, S, C, H, W) with the same B, C, H and W and at least one candidate."
            )
        images = at_least_float32(images)
        if images.dtype != target.dtype:
            raise ValueError(f"images have type {images.dtype}, but the target has {target.dtype}.")
        error: Tensor = _PhotometricError.apply(images, self._statistics, self.ssim_weight)
        return error


def photometric_error(images: Tensor, *, target: Tensor, ssim_weight: float = 0.85) -> Tensor:
    """:class:`Photometric` for a single set of candidates.

    Args:
        images: ``(B, S, C, H, W)``, values in [0, 1].
        target: ``(B, C, H, W)``, values in [0, 1].
        ssim_weight: the paper's 0.85.

    Returns:
        ``(B, S, H, W)`` between 0 and 1.

    Raises:
        ValueError: as :class:`Photometric`.
    """
    return Photometric(target, ssim_weight=ssim_weight)(images)


class _Minimum(Function):
    """Smallest of two stacks of maps and where it was found; the gradient goes to the winner only."""

    @staticmethod
    def forward(ctx: Any, identity: Tensor, warped: Tensor) -> tuple[Tensor, Tensor]:
        maps = [*identity.unbind(1), *warped.unbind(1)]
        smallest = maps[0].clone(memory_format=torch.contiguous_format)
        winner = torch.zeros_like(smallest, dtype=torch.int64)
        for index, candidate in enumerate(maps[1:], start=1):
            winner.masked_fill_(candidate < smallest, index)
            torch.minimum(smallest, candidate, out=smallest)  # passes a NaN on, which `<` would hide
        ctx.n_candidates = warped.shape[1]
        ctx.mark_non_differentiable(winner)
        ctx.save_for_backward(winner)
        return smallest, winner

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (winner,) = ctx.saved_tensors
        n_images, height, width = winner.shape
        results: list[Tensor | None] = [None, None]
        n_candidates = ctx.n_candidates
        for stack, needed in enumerate(ctx.needs_input_grad):
            if needed:
                result = gradient.new_empty(n_images, n_candidates, height, width)
                for index in range(n_candidates):
                    torch.mul(gradient, winner == stack * n_candidates + index, out=result[:, index])
                results[stack] = result
        return results[0], results[1]


def minimum_error(
    warped_error: Tensor, identity_error: Tensor, *, noise: Tensor | None = None, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Per-pixel minimum over warped and unwarped sources (Godard et al. 2019, eqs. 4 and 5, as GAM-Depth has it).

    Where an unwarped source wins, a pixel that moves with the camera or has no texture, no gradient reaches the warps.

    Args:
        warped_error: ``(B, S, H, W)``, errors of the warped sources.
        identity_error: ``(B, S, H, W)``, errors of the sources as they are.
        noise: ``(B, S, H, W)``, added to ``identity_error`` to break the ties of saturated or plain regions at random;
            the papers draw ``1e-5 N(0, 1)``. None adds nothing, and the first of equal candidates wins.
        valid: bool ``(B, S, H, W)``, False where a warp has no source pixel (behind the camera or outside of the
            image); such a warp cannot win. None lets all compete with what border padding gives them, as the papers.

    Returns:
        ``(error, winner)``: ``(B, H, W)`` in at least float32, and int64 ``(B, H, W)``: 0 to S - 1 for the unwarped,
        S to 2 S - 1 for the warped sources. The gradient of the error goes to the winner alone.

    Raises:
        ValueError: if the shapes differ or ``valid`` is not bool.
    """
    for name, values in (("identity_error", identity_error), ("noise", noise), ("valid", valid)):
        if values is not None and (values.shape != warped_error.shape or values.ndim != 4):
            raise ValueError(
                f"{name} has the shape {tuple(values.shape)} and warped_error {tuple(warped_error.shape)}, but both "
                "must be the same (B, S, H, W)."
            )
    if warped_error.shape[1] == 0:
        raise ValueError("There are no sources, but a minimum needs at least one.")
    warped_error, identity_error = at_least_float32(warped_error), at_least_float32(identity_error)
    if noise is not None:
        identity_error = identity_error + noise
    if valid is not None:
        if valid.dtype is not torch.bool:
            raise ValueError(f"valid has type {valid.dtype}, but torch.bool is needed.")
        warped_error = warped_error.masked_fill(~valid, float("inf"))
    error, winner = _Minimum.apply(identity_error, warped_error)
    return error, winner
