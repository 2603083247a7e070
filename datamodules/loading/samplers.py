"""Samplers whose order is a pure function of (seed, epoch), also across ranks and after a resumed run."""

from collections.abc import Iterator, Sized
from typing import cast

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset, DistributedSampler

from structures.batch import PADDING_INDEX

ORDER_STREAM = 1
"""First word of the seed of every shuffled order, so that it shares no random stream with the augmentations."""

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
        A fresh numpy generator; equal arguments give equal draws in any process and in any order.
    """
    return np.random.default_rng((AUGMENTATION_STREAM, seed, epoch, index))


class TrainSampler(DistributedSampler[tuple[int, int]]):
    """Yields ``(epoch, index)`` pairs, so that a worker cannot take a sample for one of another epoch.

    Rank r of k takes the positions ``order[r::k]`` of the global order and incomplete global batches are dropped: k
    ranks with batches of b see, step by step, exactly what one process with batches of ``k * b`` sees. The class
    derives from torch's ``DistributedSampler`` only because Lightning leaves such samplers alone.

    Args:
        dataset: The data set to draw from.
        batch_size: Batch size of one rank.
        seed: Non-negative seed of the order.
        rank: Rank of this process.
        world_size: Number of processes.
        epoch: Epoch to begin with.
        skip_batches: Batches of that epoch (and of no other) that were already trained on before a resume.

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

    def __len__(self) -> int:
        """Return the samples of a whole epoch on this rank (a resumed epoch counts as a whole one)."""
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the ``(epoch, index)`` pairs of this rank's share of the current epoch."""
        epoch = self.epoch
        order = epoch_order(self.size, seed=self.seed, epoch=epoch)[: self.batches * self.batch_size * self.world_size]
        share = order[self.rank :: self.world_size]
        skipped = self.skip_batches * self.batch_size if epoch == self.resumed_epoch else 0
        for index in share[skipped:].tolist():
            yield epoch, index


class EvaluationSampler(DistributedSampler[int]):
    """Yields indices in order, rank r of k the positions r, r + k, ... , padded to equal lengths.

    Padding is the index ``PADDING_INDEX``, for which a data set returns a sample without any valid depth: no sample
    counts twice, and no rank runs out of batches while others wait for it.

    Args:
        dataset: The data set to run over.
        rank: Rank of this process.
        world_size: Number of processes.
    """

    def __init__(self, dataset: Dataset[object], *, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=False)
        self.size = len(cast(Sized, dataset))
        self.world_size = world_size

    def __len__(self) -> int:
        """Return the samples of this rank, padding included."""
        return -(-self.size // self.world_size)

    def __iter__(self) -> Iterator[int]:
        """Yield this rank's indices, then padding up to the common length."""
        share = list(range(self.rank, self.size, self.world_size))
        yield from share
        yield from [PADDING_INDEX] * (len(self) - len(share))
