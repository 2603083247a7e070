"""Scattered sums over the footprint of each point: the inner loop of splatting, with a closed-form derivative.

The image has a border that is wide enough for every footprint. A point then needs one index, that of the first pixel of
its footprint; the k-th pixel has the same index in the image shifted by a constant. Processing the pixels of the
footprint one by one is cache-efficient; intermediate values are recomputed in the backward pass instead of stored.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def shifted(image: Tensor, shift: int, reach: int) -> Tensor:
    """View of the flat image ``(..., P)`` from ``shift`` cells on, long enough for indices up to ``P - reach``."""
    return image.narrow(-1, shift, image.shape[-1] - reach)


def footprint_cells(n_taps: int, width: int) -> Iterator[tuple[int, int, int]]:
    """Row, column and flat offset of each pixel of a footprint relative to its first pixel."""
    for y, x in itertools.product(range(n_taps), repeat=2):
        yield y, x, y * width + x


class FootprintSums(torch.autograd.Function):
    """``sum over points of w [columns, 1]`` at each pixel, ``w = profile_y profile_x share``."""

    @staticmethod
    def forward(
        ctx: Any,
        columns: Tensor,
        profile_x: Tensor,
        profile_y: Tensor,
        share: Tensor,
        first: Tensor,
        width: int,
        cells: int,
    ) -> Tensor:
        """Sums at each pixel of the image with its border.

        Args:
            ctx: context of autograd.
            columns: ``(B, C, N)``, values to sum.
            profile_x: ``(B, T, N)``, weights of the T columns of a footprint.
            profile_y: ``(B, T, N)``, weights of its rows.
            share: ``(B, T, T, N)``, a further factor for each of its pixels, rows first; a constant.
            first: int64 ``(B, N)``, index of its first pixel; with ``reach = (T - 1) (width + 1)`` below
                ``cells - reach``.
            width: of the image with its border.
            cells: pixels of the image with its border.

        Returns:
            ``(B, C + 1, cells)``.
        """
        ctx.save_for_backward(columns, profile_x, profile_y, share, first)
        ctx.width = width
        n_taps = profile_x.shape[1]
        counted = torch.cat([columns, torch.ones_like(columns[:, :1])], dim=1)
        total = columns.new_zeros(*counted.shape[:2], cells)
        index = first.unsqueeze(1).expand_as(counted)
        for y, x, shift in footprint_cells(n_taps, width):
            weight = (profile_y[:, y] * profile_x[:, x]).mul_(share[:, y, x])
            seen = shifted(total, shift, (n_taps - 1) * (width + 1))
            seen.scatter_add_(2, index, counted * weight.unsqueeze(1))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of columns and profiles."""
        (gradient,) = gradients
        columns, profile_x, profile_y, share, first = ctx.saved_tensors
        n_taps = profile_x.shape[1]
        by_columns = torch.zeros_like(columns)
        by_x, by_y = torch.zeros_like(profile_x), torch.zeros_like(profile_y)
        index = first.unsqueeze(1).expand(-1, columns.shape[1] + 1, -1)
        for y, x, shift in footprint_cells(n_taps, ctx.width):
            seen = shifted(gradient, shift, (n_taps - 1) * (ctx.width + 1)).gather(2, index)
            weight_x = profile_x[:, x] * share[:, y, x]
            by_columns.addcmul_(seen[:, :-1], (weight_x * profile_y[:, y]).unsqueeze(1))
            by_weight = (seen[:, :-1] * columns).sum(dim=1).add_(seen[:, -1])
            by_y[:, y].addcmul_(by_weight, weight_x)
            by_x[:, x].addcmul_(by_weight.mul_(share[:, y, x]), profile_y[:, y])
        return by_columns, by_x, by_y, None, None, None, None
