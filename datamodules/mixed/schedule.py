"""Selection of the frames of each source in an epoch of mixed data, as a pure function of (seed, epoch)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from datamodules.loading.samplers import AUGMENTATION_STREAM, ORDER_STREAM

MIXTURE_STREAM = 3
"""First word of the seed of the order within each source."""

assert MIXTURE_STREAM not in (ORDER_STREAM, AUGMENTATION_STREAM)

Index = npt.NDArray[np.int64]


def share_counts(weights: Sequence[float], total: int) -> list[int]:
    """Return the samples of each source in proportion to the weights, by the largest-remainder method.

    Args:
        weights: Positive weight of each source.
        total: Number of samples.

    Returns:
        Samples of each source; their sum is ``total``.

    Example:
        >>> share_counts([1.0, 2.0, 1.0], 10)
        [3, 5, 2]
    """
    exact = np.asarray(weights, dtype=np.float64) / np.sum(weights) * total
    counts = np.floor(exact).astype(np.int64)
    # Rounded, so that ties between equal weights follow the order of the sources and not rounding errors.
    order = np.argsort(-np.round(exact - counts, 9), kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return [int(count) for count in counts]


def frames_of_epoch(size: int, count: int, *, source: int, seed: int, epoch: int) -> Index:
    """Return the positions of the frames of one source in one epoch.

    The source is traversed in shuffled passes that continue across epochs, so the numbers of uses of two frames never
    differ by more than one. A source smaller than its share repeats within an epoch.

    Args:
        size: Frames of the source.
        count: Frames of the source per epoch.
        source: Index of the source, for the seed.
        seed: Non-negative seed of the data module.
        epoch: Epoch, counted from 0.

    Returns:
        int64 ``(count,)``.
    """
    first = epoch * count
    last = first + count - 1
    passes = range(first // size, last // size + 1)
    orders = [np.random.default_rng((MIXTURE_STREAM, seed, source, number)).permutation(size) for number in passes]
    start = first - passes[0] * size
    frames: Index = np.concatenate(orders)[start : start + count].astype(np.int64)
    return frames


class Mixture:
    """Frames of every epoch, as positions in the concatenation of all sources.

    Args:
        sizes: Frames of each source.
        counts: Frames of each source per epoch.
        seed: Non-negative seed of the data module.
    """

    def __init__(self, sizes: Sequence[int], counts: Sequence[int], *, seed: int) -> None:
        self.sizes = list(sizes)
        self.counts = list(counts)
        self.seed = seed
        self._epoch = -1
        self._frames: Index = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        """Return the number of samples of an epoch."""
        return sum(self.counts)

    def frame(self, epoch: int, slot: int) -> int:
        """Return the position of the frame in a slot of an epoch; the slots of a source are consecutive."""
        if epoch != self._epoch:
            starts = np.cumsum([0, *self.sizes])
            self._frames = np.concatenate(
                [
                    starts[source] + frames_of_epoch(size, count, source=source, seed=self.seed, epoch=epoch)
                    for source, (size, count) in enumerate(zip(self.sizes, self.counts, strict=True))
                ]
            )
            self._epoch = epoch
        return int(self._frames[slot])
