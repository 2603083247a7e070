"""Warnings about data, logged once per data set by one process, and counts of unusual values."""

import logging
from collections import Counter

from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import get_worker_info

logger = logging.getLogger(__name__)

_warned: set[tuple[str, str]] = set()
_tallies: Counter[tuple[str, str]] = Counter()


def warn_once(data: str, kind: str, message: str) -> None:
    """Log a warning once per data set and kind in this process.

    Of several ranks and loader processes only the first logs.

    Args:
        data: The data set, usually its path.
        kind: Key of the warning.
        message: One sentence.
    """
    worker = get_worker_info()
    if (data, kind) in _warned or getattr(rank_zero_only, "rank", 0) != 0 or (worker is not None and worker.id != 0):
        return
    _warned.add((data, kind))
    logger.warning("%s", message)


def tally(data: str, kind: str, count: int = 1) -> None:
    """Add to the count of a kind of value in a data set, in this process."""
    _tallies[data, kind] += count


def tallies(kind: str) -> dict[str, int]:
    """Return the counts of a kind by data set, in this process."""
    return {data: count for (data, name), count in _tallies.items() if name == kind}
