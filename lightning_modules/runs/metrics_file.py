"""The file ``metrics.csv`` of a run: one row a step, also of a run that was interrupted."""

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from structures.files import write_atomically

STEP = "step"
_SAVE_EVERY_N_STEPS = 100
Row = dict[str, Any]


def row_step(metrics: Iterable[str], step: int, last: int | None) -> int:
    """The step of the row that metrics belong to.

    Lightning logs the values of a step under the number of steps before it, and the test of a training under the number
    of all its steps, which is that of the first step if the training goes on. They belong to the last trained step.

    Args:
        metrics: Names of the metrics.
        step: Step under which Lightning logs them.
        last: Step of the last row, None if there is none.
    """
    of_test = all(name.startswith("test/") or name == "epoch" for name in metrics)
    return step if last is None or not of_test else min(step, last)


def read_rows(path: Path) -> list[Row]:
    """Rows of a metrics file with their steps as numbers, empty values left out; empty if there is no file.

    A row without a step is left out, such as a last one that was not written completely, and so is one that is no CSV.
    """
    if not path.is_file():
        return []
    rows = []
    with path.open(newline="", errors="replace") as file:
        reader = csv.DictReader(line.replace("\0", "") for line in file)
        while True:
            try:
                row = next(reader, None)
            except csv.Error:  # a cell above the parser's limit: the file was damaged
                continue
            if row is None:
                break
            step = row.get(STEP) or ""
            if step.isdecimal():
                filled: Row = {name: value for name, value in row.items() if name is not None and value}
                rows.append(filled | {STEP: int(step)})
    return rows


def cut_metrics(path: Path, step: int) -> None:
    """Remove the rows of steps that are trained again.

    Args:
        path: The metrics file; nothing is done if there is none.
        step: Number of trained steps from which the training goes on.
    """
    if path.is_file():
        _write_all(path, [row for row in read_rows(path) if row[STEP] < step])


class MetricsFile:
    """Writes metrics, values of the same step into the same row; goes on with an existing file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pending: dict[int, Row] = {}
        self._columns: list[str] = []
        self._last: Row = {}
        self._last_at = 0
        rows = read_rows(path)
        if rows:
            self._rewrite(rows)

    @property
    def last_step(self) -> int | None:
        """Step of the last row."""
        steps = [*self._pending, *([self._last[STEP]] if self._last else [])]
        return max(steps, default=None)

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Add values to the row of a step.

        Args:
            metrics: Numbers, or tensors of one number, by name.
            step: The step as Lightning counts it.
        """
        step = row_step(metrics, step, self.last_step)
        values = {name: value.item() if hasattr(value, "item") else value for name, value in metrics.items()}
        self._pending.setdefault(step, {}).update(values | {STEP: step})

    def save(self) -> None:
        """Write all rows, and flush them to the disk.

        Raises:
            OSError: If the file cannot be written.
        """
        if not self._pending:
            return
        rows = [self._pending[step] for step in sorted(self._pending)]
        earlier = bool(self._last) and rows[0][STEP] < self._last[STEP]
        if earlier or not {name for row in rows for name in row} <= {*self._columns}:
            self._rewrite([*read_rows(self.path), *rows])
            self._pending = {}
            return
        if self._last and rows[0][STEP] == self._last[STEP]:
            rows[0] = self._last | rows[0]
            at = self._last_at
        else:
            at = self.path.stat().st_size
        before = self._text(rows[:-1])
        with self.path.open("r+b") as file:
            file.seek(at)
            file.write(before + self._text(rows[-1:]))
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        self._last, self._last_at, self._pending = rows[-1], at + len(before), {}

    def _rewrite(self, rows: list[Row]) -> None:
        merged: dict[int, Row] = {}
        for row in rows:
            merged.setdefault(row[STEP], {}).update(row)
        rows = [merged[step] for step in sorted(merged)]
        self._columns, text = _write_all(self.path, rows)
        self._last = rows[-1]
        self._last_at = len(text) - len(self._text(rows[-1:]))

    def _text(self, rows: list[Row]) -> bytes:
        return _as_csv(rows, self._columns, header=False)


def _write_all(path: Path, rows: list[Row]) -> tuple[list[str], bytes]:
    columns = sorted({name for row in rows for name in row} | {STEP})
    text = _as_csv(rows, columns, header=True)
    write_atomically(path, [text])
    return columns, text


def _as_csv(rows: list[Row], columns: list[str], *, header: bool) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


class StepCSVLogger(CSVLogger):
    """Lightning's CSV logger with one row a step, which goes on with the file of an interrupted run.

    Args:
        run_dir: The run's folder, of which ``metrics.csv`` is written.
    """

    def __init__(self, run_dir: Path) -> None:
        super().__init__(run_dir, name="", version="")
        self._file: MetricsFile | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The file, opened on first use."""
        if self._file is None:
            self._file = MetricsFile(Path(self.log_dir) / "metrics.csv")
        return self._file

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics, and save every few steps."""
        last = self.experiment.last_step
        number = step if step is not None else 0 if last is None else last
        self.experiment.log(metrics, number)
        if (number + 1) % _SAVE_EVERY_N_STEPS == 0:
            self.save()

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: ``config.yaml`` has all settings."""

    @rank_zero_only
    def save(self) -> None:
        """Write the rows."""
        if self._file is not None:
            self._file.save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the rows at the end."""
        self.save()
