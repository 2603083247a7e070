"""Counts, means and maxima over the batch of all processes of a data-parallel training.

Data-parallel training averages the gradients of its processes, each of which sees a part of the global batch. A loss
that divides a sum by a count of its own part (measured pixels, instances, pairs) then differs from the loss of one
process on the global batch, because the parts have different counts. The losses therefore divide by the count of the
global batch *divided by the number of processes*, so that the mean over processes is the sum over all of them divided
by the count of all: the convention of detectron2 and AdelaiDet, here for every loss whose mean runs over the batch.

Nothing is communicated outside :func:`global_batch`, which the training step enters, or in a single process: there the
functions return the values of that process bit for bit. All processes have to call them in the same order.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

_IS_GLOBAL: ContextVar[bool] = ContextVar("global_batch", default=False)


@contextmanager
def global_batch() -> Iterator[None]:
    """Context in which the batch of a loss is that of all processes; without it, the part of this process.

    A training step runs in it. Validation does not: its processes may have different numbers of batches, or one of them
    may draw a picture alone, and a process that waits for the others would never go on.
    """
    token = _IS_GLOBAL.set(True)
    try:
        yield
    finally:
        _IS_GLOBAL.reset(token)


def n_processes() -> int:
    """Number of processes that share the batch: 1 in a single process and outside of :func:`global_batch`."""
    distributed = torch.distributed
    if not _IS_GLOBAL.get() or not distributed.is_available() or not distributed.is_initialized():
        return 1
    return distributed.get_world_size()


def denominator(count: Tensor, *, least: float = 1) -> Tensor:
    """What the sum over this process's part of the batch is divided by.

    Args:
        count: number of elements, or sum of weights, of this process's part; any shape, one entry a mean.
        least: lower limit of the count of the global batch, where it may be zero.

    Returns:
        ``max(count, least)`` in a single process; else the sum of the counts over all processes, at least ``least``,
        divided by the number of processes, in at least float32. It has no gradient.
    """
    processes = n_processes()
    if processes == 1:
        return count.detach().clamp(min=least)
    total = count.detach().to(torch.float64)  # a copy: counts up to 2^53 are exact
    torch.distributed.all_reduce(total)
    kept = count.dtype if count.dtype == torch.float64 else torch.float32
    return (total.clamp(min=least) / processes).to(kept)


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum over all processes, without gradient; in a single process the values themselves."""
    if n_processes() == 1:
        return values.detach()
    total = values.detach().clone()
    torch.distributed.all_reduce(total)
    return total


def mean_over_processes(values: Tensor) -> Tensor:
    """Mean over all processes whose gradient is that of this process's values.

    For losses that are a nonlinear function of a mean over the batch, such as its root: the function has the value of
    the global batch on every process, and the mean of the gradients over the processes is its exact gradient.

    Args:
        values: any shape.

    Returns:
        The same shape; in a single process the values themselves.
    """
    processes = n_processes()
    if processes == 1:
        return values
    mean = sum_over_processes(values) / processes
    return mean + (values - values.detach())


class _Sum(torch.autograd.Function):
    """Sum over processes; the gradient of a value is the sum of all processes' gradients of the sum."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        torch.distributed.all_reduce(total)
        return total


def sum_with_all_gradients(values: Tensor) -> Tensor:
    """Sum over all processes that every process's loss depends on: its gradient comes from all of their losses.

    For statistics that enter the outputs of all processes, such as those of a batch norm.

    Args:
        values: any shape.

    Returns:
        The same shape; in a single process the values themselves.
    """
    if n_processes() == 1:
        return values
    total: Tensor = _Sum.apply(values)
    return total


def max_over_processes(values: Tensor) -> Tensor:
    """Largest value over all processes, without gradient; in a single process the values themselves."""
    if n_processes() == 1:
        return values.detach()
    largest = values.detach().clone()
    torch.distributed.all_reduce(largest, op=torch.distributed.ReduceOp.MAX)
    return largest
