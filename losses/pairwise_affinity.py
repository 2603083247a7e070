"""Pairwise loss of BoxInst: neighbouring pixels of similar colour or depth should have the same mask label.

The pairwise term of BoxInst (Tian et al. 2021, https://arxiv.org/abs/2012.02310, section 3.2) and its depth-consistency
variant (arXiv 2403.01214). Every pixel has 8 neighbours, in the order of ``geometry.boxes.NEIGHBOUR_OFFSETS``. The loss
only penalises different labels: at an edge of an object that has no edge in the image, its gradient is wrong.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from geometry.boxes import NEIGHBOUR_OFFSETS, neighbours
from geometry.processes import denominator
from geometry.stencils import at_least_float32, fill_outside

PairGate = Literal["colour", "depth", "both"]

DILATION = 2
N_NEIGHBOURS = len(NEIGHBOUR_OFFSETS)
CHUNK_PIXELS = 2**22
"""Pixels of the instances that are processed at once, which limits the memory."""
CPU_CHUNK_PIXELS = 2**20
"""The same on a CPU: fewer would fit its cache better, but threads synchronise after every chunk."""

# IEC 61966-2-1 (sRGB), and the white point D65 for the CIE 1931 standard observer.
XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
WHITE_XYZ = (0.95047, 1.0, 1.08883)


def rgb_to_lab(image: Tensor) -> Tensor:
    """CIE L*a*b* values of an sRGB image, with the white point D65.

    Args:
        image: ``(B, 3, H, W)`` RGB in [0, 1].

    Returns:
        ``(B, 3, H, W)`` in at least float32: L in [0, 100], a and b about [-110, 100].

    Raises:
        ValueError: if the shape is wrong.
    """
    _check_image(image)
    image = at_least_float32(image)
    linear = torch.where(image > 0.04045, ((image + 0.055) / 1.055) ** 2.4, image / 12.92)
    rows = torch.tensor(XYZ_FROM_RGB, dtype=linear.dtype, device=linear.device)
    white = torch.tensor(WHITE_XYZ, dtype=linear.dtype, device=linear.device)
    with torch.autocast(image.device.type, enabled=False):
        xyz = torch.einsum("ij,bjhw->bihw", rows / white.unsqueeze(1), linear)
    x, y, z = torch.where(xyz > 0.008856, xyz.clamp(min=0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116).unbind(dim=1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def without_bottom(image_mask: Tensor, *, rows: Tensor) -> Tensor:
    """Image mask without the lowest rows of each image; BoxInst excludes 10 rows of the original image.

    Args:
        image_mask: bool ``(B, 1, H, W)``, True on the image and False on the padding at the right and the bottom.
        rows: ``(B,)`` rows of the resized image to exclude, for BoxInst 10 times the resize factor; rounded down.

    Returns:
        Bool ``(B, 1, H, W)``.
    """
    height = image_mask.any(dim=-1).sum(dim=-1, keepdim=True) - rows.floor().view(-1, 1, 1)
    return image_mask & (torch.arange(image_mask.shape[2], device=image_mask.device) < height).unsqueeze(-1)


@torch.no_grad()
def colour_similarity(image: Tensor, *, image_mask: Tensor, stride: int = 4, dilation: int = DILATION) -> Tensor:
    """``exp(-|LAB_i - LAB_j| / 2)`` between the pixels of the downsampled image and their 8 neighbours.

    The image is quantised to 256 levels, averaged over ``stride x stride`` pixels and rounded down to a level, as in
    the released code, but on the device. No gradient flows through it.

    Args:
        image: ``(B, 3, H, W)`` RGB in [0, 1], not normalised; H and W are multiples of ``stride``.
        image_mask: bool ``(B, 1, H, W)``, True on real pixels.
        stride: downsampling factor. The mask is sampled at every ``stride``-th pixel from ``stride // 2`` on.
        dilation: distance to the neighbours, in pixels of the downsampled image.

    Returns:
        ``(B, 8, H / stride, W / stride)`` in [0, 1], in at least float32: 0 where the *neighbour* is padding or outside
        the image; the pixel itself may be padding.

    Raises:
        ValueError: if the shapes do not fit, the mask is not bool, or the stride does not divide the image.
    """
    _check_image(image)
    height, width = image.shape[2:]
    if image_mask.shape != (image.shape[0], 1, height, width) or image_mask.dtype != torch.bool:
        raise ValueError(
            f"image_mask is {image_mask.dtype} {tuple(image_mask.shape)}, but must be bool (B, 1, H, W) of the image "
            f"{tuple(image.shape)}."
        )
    if stride < 1 or height % stride or width % stride:
        raise ValueError(f"The stride is {stride}, but it must be at least 1 and divide the image of {height}x{width}.")
    # Rounded to levels first: a value slightly below v / 255 due to rounding would be floored to v - 1.
    levels = (255 * at_least_float32(image)).round_().clamp_(0, 255)
    lab = rgb_to_lab(F.avg_pool2d(levels, stride).floor_() / 255)
    return _similarity(lab, image_mask[:, 0, stride // 2 :: stride, stride // 2 :: stride], 0.5, dilation, both=False)


@torch.no_grad()
def depth_similarity(
    depth: Tensor, *, depth_scale: float, depth_mask: Tensor | None = None, dilation: int = DILATION
) -> Tensor:
    """``exp(-depth_scale |d_i - d_j|)`` between pixels and their 8 neighbours (arXiv 2403.01214).

    The paper keeps pairs above 0.5 but does not give the unit of its depth. For depth in [0, 1] and a scale of 1 the
    similarity is at least 0.37, and the threshold would keep almost every pair; hence the scale. A scale of ``s`` and a
    threshold of 0.5 keep pairs that differ by less than ``0.69 / s``. No gradient flows through it.

    Args:
        depth: ``(B, 1, h, w)`` inverse depth, near = 1 (or in another unit that the scale refers to).
        depth_scale: factor on the differences, per unit of ``depth``, positive.
        depth_mask: bool ``(B, 1, h, w)``, False where there is no depth; None takes all.
        dilation: distance to the neighbours, in pixels of ``depth``.

    Returns:
        ``(B, 8, h, w)`` in [0, 1], in at least float32: 0 where the pixel or its neighbour has no depth, and where the
        neighbour is outside the image.

    Raises:
        ValueError: if the shapes do not fit, the mask is not bool, or the scale is not positive.
    """
    depth_mask = check_depth(depth, depth_scale=depth_scale, depth_mask=depth_mask)
    depth = fill_outside(at_least_float32(depth), depth_mask)
    return _similarity(depth, depth_mask[:, 0], depth_scale, dilation, both=True)


def check_depth(depth: Tensor, *, depth_scale: float, depth_mask: Tensor | None) -> Tensor:
    """The mask of known depth, all True for None, after a check of depth, mask and scale.

    Raises:
        ValueError: if the shapes do not fit, the mask is not bool, or the scale is not positive.
    """
    if not depth_scale > 0:
        raise ValueError(f"depth_scale is {depth_scale}, but it must be positive.")
    if depth.ndim != 4 or depth.shape[1] != 1:
        raise ValueError(f"The depth has the shape {tuple(depth.shape)}, but (B, 1, h, w) is needed.")
    if depth_mask is None:
        depth_mask = torch.ones_like(depth, dtype=torch.bool)
    if depth_mask.shape != depth.shape or depth_mask.dtype != torch.bool:
        raise ValueError(
            f"depth_mask is {depth_mask.dtype} {tuple(depth_mask.shape)}, but bool {tuple(depth.shape)} is needed."
        )
    return depth_mask


def _similarity(values: Tensor, mask: Tensor, scale: float, dilation: int, *, both: bool) -> Tensor:
    """``exp(-scale * Euclidean distance)``, zero where the neighbour, or either of the two, is outside the mask."""
    result = values.new_zeros(values.shape[0], N_NEIGHBOURS, *values.shape[2:])
    for i in range(N_NEIGHBOURS // 2):
        here, there = neighbours(values, i, dilation=dilation)
        # Much faster than torch's norm over the channels, which are far apart in memory.
        alike = torch.exp(-scale * (here - there).square().sum(dim=1).sqrt())
        masked_here, masked_there = neighbours(mask, i, dilation=dilation)
        if both:
            masked_here = masked_there = masked_here & masked_there
        opposite = N_NEIGHBOURS - 1 - i
        neighbours(result[:, i], i, dilation=dilation)[0].copy_(fill_outside(alike, masked_there))
        neighbours(result[:, opposite], i, dilation=dilation)[1].copy_(fill_outside(alike, masked_here))
    return result


def pair_weights(
    pair_gate: PairGate,
    *,
    colour: Tensor | None = None,
    depth: Tensor | None = None,
    colour_threshold: float = 0.3,
    depth_threshold: float = 0.5,
) -> Tensor:
    """Pairs of neighbours that the pairwise loss applies to.

    ``colour`` is BoxInst, ``depth`` the depth-consistency term of arXiv 2403.01214. ``both`` is this project's own: a
    pair has to be similar in both, since the colours at the edge of a camouflaged object are similar on both sides.

    Args:
        pair_gate: which similarity decides.
        colour: ``(B, 8, h, w)`` of :func:`colour_similarity`, needed for ``colour`` and ``both``.
        depth: ``(B, 8, h, w)`` of :func:`depth_similarity`, needed for ``depth`` and ``both``.
        colour_threshold: smallest colour similarity of a pair, BoxInst's 0.3.
        depth_threshold: depth similarity that a pair has to exceed, the paper's 0.5.

    Returns:
        Bool ``(B, 8, h, w)``. Without a threshold of 0 it is False where a similarity is 0.

    Raises:
        ValueError: if the gate is unknown, a similarity that it needs is missing, or the shapes differ.
    """
    if pair_gate == "both":
        both = [
            pair_weights("colour", colour=colour, colour_threshold=colour_threshold),
            pair_weights("depth", depth=depth, depth_threshold=depth_threshold),
        ]
        if both[0].shape != both[1].shape:
            raise ValueError(f"colour and depth have the shapes {tuple(both[0].shape)} and {tuple(both[1].shape)}.")
        return both[0] & both[1]
    if pair_gate not in ("colour", "depth"):
        raise ValueError(f"pair_gate is {pair_gate!r}, but it must be 'colour', 'depth' or 'both'.")
    similarity = colour if pair_gate == "colour" else depth
    if similarity is None:
        raise ValueError(f"The pairs are chosen by {pair_gate}, but no {pair_gate} similarity was given.")
    return similarity >= colour_threshold if pair_gate == "colour" else similarity > depth_threshold


def pairwise_loss(
    logits: Tensor,
    *,
    weights: Tensor,
    box_masks: Tensor,
    image_index: Tensor | None = None,
    dilation: int = DILATION,
) -> Tensor:
    """``sum(w l) / max(sum(w), 1)`` over all instances, pixels and neighbours, ``w`` counting pixels in the box.

    In a training on several processes ``sum(w)`` is that of all of them, see :mod:`geometry.processes`.

    ``l = -log(m_i m_j + (1 - m_i) (1 - m_j))`` with ``m`` the sigmoid of the logits is minus the log-probability that
    both ends of a pair lie on one side, and 0 for neighbours outside of the image (BoxInst, eq. 5 to 7). Each pair is
    visited once for both of its ends, and its gradient is summed up in the forward pass, so that nothing of the size
    of all pairs is ever made.

    Args:
        logits: ``(N, 1, h, w)`` mask logits.
        weights: ``(N, 8, h, w)``, bool or not negative, as of :func:`pair_weights`; with an ``image_index``
            ``(B, 8, h, w)``. They get no gradient.
        box_masks: bool ``(N, 1, h, w)``; a pair counts for the pixel that is inside, wherever its neighbour lies.
        image_index: int64 ``(N,)``, the image of each instance among the ``weights``; None if they are the instances'.
        dilation: distance to the neighbours, the one of the weights.

    Returns:
        Scalar in at least float32, differentiable once. Without instances, or without a weight, it is a zero that stays
        in the graph.

    Raises:
        ValueError: if the shapes do not fit or the box masks are not bool.
    """
    if logits.ndim != 4 or logits.shape[1] != 1 or logits.shape != box_masks.shape or box_masks.dtype != torch.bool:
        raise ValueError(
            f"logits and box_masks are {tuple(logits.shape)} and {box_masks.dtype} {tuple(box_masks.shape)}, but both "
            "must be (N, 1, h, w), the masks bool."
        )
    if weights.ndim != 4 or weights.shape[1:] != (N_NEIGHBOURS, *logits.shape[2:]):
        raise ValueError(
            f"The weights have the shape {tuple(weights.shape)}, but {N_NEIGHBOURS} channels of "
            f"{logits.shape[2]}x{logits.shape[3]} are needed."
        )
    indices = (weights if image_index is None else image_index).shape[0]
    if indices != logits.shape[0] or (image_index is not None and image_index.ndim != 1):
        raise ValueError(f"The logits are of {logits.shape[0]} instances, but weights or image_index of {indices}.")
    needs_gradient = torch.is_grad_enabled() and logits.requires_grad
    loss: Tensor = _PairwiseLoss.apply(
        at_least_float32(logits), weights, box_masks, image_index, dilation, needs_gradient
    )
    return loss


def count_pairs(weights: Tensor, *, box_masks: Tensor, image_index: Tensor) -> Tensor:
    """Number of selected pairs over all instances, ``sum(w)`` of :func:`pairwise_loss`.

    Args:
        weights: bool ``(B, 8, h, w)``, as of :func:`pair_weights`.
        box_masks: bool ``(N, 1, h, w)``.
        image_index: int64 ``(N,)``, the image of each instance among the ``weights``.

    Returns:
        Scalar, float32.
    """
    per_pixel = weights.sum(dim=1, dtype=torch.float32)
    return fill_outside(per_pixel[image_index], box_masks.squeeze(1)).sum()


class _PairwiseLoss(torch.autograd.Function):
    """The loss with its gradient in closed form: ``d l / d x_i = sigmoid(x_i) - sigmoid(x_i + x_j)``."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        weights: Tensor,
        box_masks: Tensor,
        image_index: Tensor | None,
        dilation: int,
        needs_gradient: bool,
    ) -> Tensor:
        gradient = torch.zeros_like(logits) if needs_gradient else None
        total, count = logits.new_zeros(()), logits.new_zeros(())
        most = CPU_CHUNK_PIXELS if logits.device.type == "cpu" else CHUNK_PIXELS
        step = max(most // max(logits.shape[2] * logits.shape[3], 1), 1)
        for start in range(0, logits.shape[0], step):
            chunk = slice(start, start + step)
            chunk_weights = weights[chunk] if image_index is None else weights[image_index[chunk]]
            chunk_weights = fill_outside(chunk_weights, box_masks[chunk])
            # A sum of bool values would copy them to int64 first.
            count += chunk_weights.count_nonzero() if weights.dtype == torch.bool else chunk_weights.sum()
            chunk_gradient = None if gradient is None else gradient[chunk, 0]
            total += _pair_losses(logits[chunk, 0], chunk_weights, chunk_gradient, dilation)
        count = denominator(count)
        if gradient is not None:
            ctx.save_for_backward(gradient, count)
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_of_loss: Tensor) -> tuple[Tensor | None, ...]:
        gradient, count = ctx.saved_tensors
        return gradient * (gradient_of_loss / count), None, None, None, None, None


def _pair_losses(logits: Tensor, weights: Tensor, gradient: Tensor | None, dilation: int) -> Tensor:
    """Weighted sum over the pairs of ``(n, h, w)`` logits; adds its gradient to ``gradient``, which has their shape."""
    total = logits.new_zeros(())
    log_inside = F.logsigmoid(logits)
    log_outside = F.logsigmoid(-logits)  # a subtraction would lose the digits of confident pixels
    inside = logits.sigmoid()
    for i in range(N_NEIGHBOURS // 2):

        def ends(values: Tensor, i: int = i) -> tuple[Tensor, Tensor]:
            return neighbours(values, i, dilation=dilation)

        weight = ends(weights[:, i])[0].to(logits.dtype) + ends(weights[:, N_NEIGHBOURS - 1 - i])[1]
        log_same = torch.logaddexp(torch.add(*ends(log_inside)), torch.add(*ends(log_outside)))
        total -= log_same.mul_(weight).sum()
        if gradient is not None:
            both = torch.add(*ends(logits)).sigmoid_()
            for end, own in zip(ends(gradient), ends(inside), strict=True):
                end.addcmul_(weight, own - both)
    return total


def _check_image(image: Tensor) -> None:
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"The image has the shape {tuple(image.shape)}, but (B, 3, H, W) is needed.")
