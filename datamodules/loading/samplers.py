"""Samplers whose order is a pure function of (seed, epoch), across ranks and after resuming a run."""

from collections.abc import Callable, Iterator, Sized
from typing import cast

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset, DistributedSampler

from structures.batch import PADDING_INDEX

ORDER_STREAM = 1
"""First word of the seed of every shuffled order; separates its random stream from the augmentations."""

AUGMENTATION_STREAM = 2
"""First word of the seed of every augmentation draw."""


def epoch_order(size: int, *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the global order of one training epoch: a permutation that depends on (seed, epoch) alone.

    Args:
        size: Number of samples.
        seed: Non-negative seed of the data module.
        epoch: Epoch, counted from 0.

    Returns:
        int64 ``(size,)``, a permutation of ``0 .. size - 1``.
    """
    return np.random.default_rng((ORDER_STREAM, seed, epoch)).permutation(size).astype(np.int64)


def sample_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Return the generator of every random draw for one sample of one epoch.

    Args:
        seed: Non-negative seed of the data module.
        epoch: Epoch, counted from 0.
        index: Position of the sample in its split.

    Returns:
        A new numpy generator; equal arguments give equal draws in any process and order of calls.
    """
    return np.random.default_rng((AUGMENTATION_STREAM, seed, epoch, index))


class TrainSampler(DistributedSampler[tuple[int, int]]):
    """Sampler of ``(epoch, index)`` pairs, which pass the epoch to the worker processes.

    Rank r of k uses the positions ``order[r::k]`` of the global order, and incomplete global batches are dropped: in
    every step, k ranks with batch size b process the samples of one process with batch size ``k * b``. The class
    derives from torch's ``DistributedSampler`` because Lightning does not replace such samplers.

    Args:
        dataset: The data set to draw from.
        batch_size: Batch size of one rank.
        seed: Non-negative seed of the order.
        rank: Rank of this process.
        world_size: Number of processes.
        epoch: First epoch.
        skip_batches: Batches of the first epoch that were processed before a resume.
        order: Function of the epoch that returns its global order, a permutation; None uses :func:`epoch_order`.

    Raises:
        ValueError: If the data set holds fewer samples than one global batch.
    """

    def __init__(
        self,
        dataset: Dataset[object],
        *,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        epoch: int = 0,
        skip_batches: int = 0,
        order: Callable[[int], npt.NDArray[np.int64]] | None = None,
    ) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=True, seed=seed, drop_last=True)
        self.size = len(cast(Sized, dataset))
        self.batch_size = batch_size
        self.world_size = world_size
        self.batches = self.size // (batch_size * world_size)
        if self.batches == 0:
            raise ValueError(
                f"The training split holds {self.size} samples, fewer than one batch of {batch_size * world_size} "
                f"(batch_size {batch_size} on {world_size} process(es)): lower batch_size to at most "
                f"{self.size // world_size} or use more data."
            )
        self.epoch = epoch
        self.resumed_epoch = epoch
        self.skip_batches = skip_batches
        self.order = order

    def __len__(self) -> int:
        """Return the number of samples of a complete epoch on this rank, also for a resumed epoch."""
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the ``(epoch, index)`` pairs of this rank in the current epoch."""
        epoch = self.epoch
        order = epoch_order(self.size, seed=self.seed, epoch=epoch) if self.order is None else self.order(epoch)
        share = order[: self.batches * self.batch_size * self.world_size][self.rank :: self.world_size]
        skipped = self.skip_batches * self.batch_size if epoch == self.resumed_epoch else 0
        for index in share[skipped:].tolist():
            yield epoch, index


class EvaluationSampler(DistributedSampler[int]):
    """Sampler of indices in order; rank r of k yields r, r + k, ..., padded to equal lengths.

    The padding is ``PADDING_INDEX``, for which a data set returns a sample without valid depth. No sample counts twice,
    and all ranks have the same number of batches.

    Args:
        dataset: The data set to evaluate.
        rank: Rank of this process.
        world_size: Number of processes.
    """

    def __init__(self, dataset: Dataset[object], *, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=False)
        self.size = len(cast(Sized, dataset))
        self.world_size = world_size

    def __len__(self) -> int:
        """Return the number of samples of this rank, including padding."""
        return -(-self.size // self.world_size)

    def __iter__(self) -> Iterator[int]:
        """Yield this rank's indices, then padding up to the common length."""
        share = list(range(self.rank, self.size, self.world_size))
        yield from share
        yield from [PADDING_INDEX] * (len(self) - len(share))
