"""The kernels behind ``losses/photometric.py``: error maps and their derivative, arranged for speed.

This is the hot path of every self-supervised step. The window statistics of the target are computed once for all
candidates. The SSIM of a candidate is written in terms of its difference to the target, which needs three window sums
instead of the usual five and loses no digits where the two are alike. Its derivative is closed-form: three maps of each
candidate are kept for the backward pass instead of some twenty. All work on a candidate is in-place, in chunks that fit
into a CPU's cache.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from losses.ssim import K1, K2
from losses.window_sums import fold_border, reflect_border, window_sums

CHUNK_ELEMENTS = 2**19
"""Values of one map that a CPU processes at a time: nine such float32 maps fit into 20 MB of cache. Smaller chunks
would fit into the cache of a core, but threads synchronise after every operation, which is slow on a busy machine."""


class TargetStatistics(NamedTuple):
    """Window statistics of the target for the SSIM: image ``y``, ``z = y - 1/2``, ``mu`` a mean over the 3x3 window.

    Images are ``(B, C, H, W)``. Maps are ``(B, C, H + 2, W + 2)``, see :func:`window_sums`.
    """

    image: Tensor
    """``y``."""
    centred: Tensor
    """``z``. The shift does not change the variance, and ``E[z^2] - E[z]^2`` loses fewer digits."""
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

    def chunk(self, images: slice) -> "TargetStatistics":
        """The statistics of a part of the batch."""
        return TargetStatistics(*(field[images] for field in self))


def target_statistics(target: Tensor) -> TargetStatistics:
    """Window statistics of a target ``(B, C, H, W)``, float32 or float64."""
    height, width = target.shape[-2:]
    maps = target.new_zeros(3, *target.shape[:2], height + 2, width + 2)
    maps[0, ..., 1:-1, 1:-1] = target
    maps[1, ..., 1:-1, 1:-1] = centred = target - 0.5
    reflect_border(maps[:2])
    reflected = maps[1].clone()
    torch.mul(reflected, reflected, out=maps[2])
    flat = maps.view(3, -1)
    window_sums(flat, torch.empty_like(flat), width + 2)
    total, total_centred, squares = maps
    variance_9 = torch.addcmul(squares, total_centred, total_centred, value=-1 / 9)
    return TargetStatistics(
        image=target,
        centred=centred,
        centred_reflected=reflected,
        mean_18=2 * total,
        mean_centred=total_centred / 9,
        luminance=2 * total.square() + 81 * K1**2,
        contrast=2 * variance_9 + 9 * K2**2,
    )


def _chunks(images: Tensor) -> list[tuple[slice, slice]]:
    """Slices ``(candidates, images of the batch)`` of ``(S, B, C, H, W)``; on other devices than a CPU a single one.

    The first chunk is the largest.
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


class PhotometricError(Function):
    """Error maps of all candidates against one target, with the derivative with respect to the candidates.

    With the difference ``d = x - y``, a mean over the window ``mu`` and ``var``, ``cov`` of the window, SSIM is
    ``(1 - a) (1 - b)`` where ``a = mu_d^2 / (mu_x^2 + mu_y^2 + C1)`` and ``b = var_d / (var_x + var_y + C2)``; there
    ``mu_x = mu_d + mu_y`` and ``var_x + var_y = var_d + 2 cov_dy + 2 var_y``. Hence only
    ``d``, ``d^2`` and ``d z`` have to be summed over the windows. The sums are not divided by 9; the factors are
    carried along instead.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, statistics: TargetStatistics, ssim_weight: float) -> Tensor:
        """Error maps ``(B, S, H, W)`` of ``images`` ``(B, S, C, H, W)``, averaged over the channels."""
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
            reflect_border(planes[0])
            torch.mul(planes[0], planes[0], out=planes[1])
            torch.mul(planes[0], part.centred_reflected, out=planes[2])

            # The sum of a window is stored one row and one column before its centre.
            size = shape[1] - 2 * stride - 2
            absolute = torch.abs(maps[0, :, stride + 1 : stride + 1 + size], out=work[2, :, :size])
            absolute.mul_(1 - ssim_weight)
            difference, squares, products = window_sums(maps, rows, stride)
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
        """Gradient with respect to ``images`` from that of the error maps."""
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
            # With two rows and columns of zeros before each plane, the window that starts at a pixel of the padded
            # image covers exactly the windows of the forward pass that contain this pixel.
            spread.zero_()
            inside = spread[..., : shape[1]].unflatten(2, part.mean_18.shape)[..., 2:, 2:]
            window = derivatives[:, candidates, chunk, :, :height, :width]
            torch.mul(window, ctx.ssim_weight * upstream, out=inside)
            sums = window_sums(spread, rows, stride).unflatten(2, part.mean_18.shape)
            direct, by_difference, by_target = fold_border(sums)

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

    ``m0``, ``m1`` and ``m2`` are values of the window, ``d`` and ``z`` of the pixel.

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
