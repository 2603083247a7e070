"""Lines about the progress of long work, for output that is read in a file and not on a terminal."""

import threading
import time
from collections.abc import Callable


def duration_text(seconds: float) -> str:
    """A duration in its two largest units.

    >>> [duration_text(s) for s in (0.4, 59.6, 95, 3599, 3600 * 5 + 720, 86400 * 3 + 3600 * 4)]
    ['0 s', '1 min', '1 min 35 s', '59 min 59 s', '5 h 12 min', '3 d 4 h']
    """
    whole = max(round(seconds), 0)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    shown = [f"{count} {unit}" for count, unit in parts[first : first + 2] if count]
    return " ".join(shown) or "0 s"


class ProgressLines:
    """Prints ``what: 240 of 1000 units, 35 units/s, 22 s left`` from time to time; may be used by several threads.

    Args:
        what: The work.
        unit: Name of its parts, plural.
        total: Number of parts; None or infinity if it is not known.
        every_s: Seconds between two lines, and before the first one.
        write: Takes a line with its end.
    """

    def __init__(
        self, what: str, unit: str, total: float | None, *, every_s: float, write: Callable[[str], object]
    ) -> None:
        self._what, self._unit = what, unit
        self._total = None if total is None or total == float("inf") else int(total)
        self._every_s = every_s
        self._write = write
        self._lock = threading.Lock()
        self._begin_s = self._printed_s = time.monotonic()
        self._done = 0

    def add(self, parts: int = 1) -> None:
        """Count finished parts, and print a line if it is time for one."""
        with self._lock:
            self._done += parts
            now = time.monotonic()
            if now - self._printed_s < self._every_s:
                return
            self._printed_s = now
            speed = self._done / max(now - self._begin_s, 1e-9)
            line = f"{self._what}: {self._done}"
            if self._total is not None:
                line += f" of {self._total}"
            line += f" {self._unit}, {speed:.3g} {self._unit}/s"
            if self._total is not None:
                line += f", {duration_text((self._total - self._done) / speed)} left"
            self._write(line + "\n")
