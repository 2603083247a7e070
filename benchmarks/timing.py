"""How the benchmarks take times on a machine that may be busy."""

import statistics
import time
from collections.abc import Callable

import torch


def median_seconds(*works: Callable[[], object], repeats: int, device: str = "cpu") -> list[float]:
    """Median time of each; the repeats take turns, so that a busy moment of the machine hits all alike."""
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for work, times in zip(works, seconds, strict=True):
            start = time.perf_counter()
            work()
            if device != "cpu":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]
