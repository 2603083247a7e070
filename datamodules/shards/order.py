"""Training order that reads few shards at a time, as a pure function of (seed, epoch)."""

import numpy as np
import numpy.typing as npt

SHARD_ORDER_STREAM = 7
"""First word of the seed of the order; separates its random stream from those of other draws."""

Index = npt.NDArray[np.int64]


def shard_order(shards: Index, *, lanes: int, block: int, seed: int, epoch: int) -> Index:
    """Return a permutation of the samples in which each lane reads its shards one after another.

    The shards are shuffled and their samples divided into ``lanes`` consecutive parts of equal length. Each part is
    shuffled in blocks of ``block`` samples, and the parts are interleaved. Rank r of k uses every k-th position from r
    on, which are the lanes r, r + k, ... if k divides ``lanes``: a rank then reads ``1 / k`` of the shards (and those
    that two lanes share). The order depends on no number of processes, so a run can continue on another number.

    Args:
        shards: int64 ``(n,)``, shard of each sample.
        lanes: Number of parts that are read side by side, at least 1.
        block: Samples that are shuffled together, at least 1.
        seed: Non-negative seed.
        epoch: Epoch, counted from 0.

    Returns:
        int64 ``(n,)``, a permutation of ``0 .. n - 1``.

    >>> shard_order(np.array([0, 0, 0, 1, 1, 1]), lanes=2, block=3, seed=0, epoch=0) // 3
    array([0, 1, 0, 1, 0, 1])
    """
    generator = np.random.default_rng((SHARD_ORDER_STREAM, seed, epoch))
    present, number = np.unique(shards, return_inverse=True)
    place = generator.permutation(len(present))
    sequence = np.argsort(place[number], kind="stable").astype(np.int64)
    order = np.empty_like(sequence)
    for lane, part in enumerate(np.array_split(sequence, lanes)):
        for start in range(0, len(part), block):
            generator.shuffle(part[start : start + block])
        order[lane::lanes] = part
    return order
