"""The runs of an ablation: their list, their training, and their records."""

import json
import os
import shlex
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_modules.runs.folder import RUN_ID_VARIABLE
from structures.files import write_atomically
from tools.ablation.file import EXPERIMENTS, Ablation, Start

_POLL_S = 0.5
_LONGEST_REASON = 300
_OF_A_SWEEP = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH")
"""Variables by which an agent of W&B chooses the W&B run of the command that it starts."""
_START_FROM = "lightning_modules.callbacks.start_from.StartFrom"


@dataclass(frozen=True)
class Run:
    """One training."""

    variant: str
    seed: int
    folder: Path
    command: tuple[str, ...]
    """Arguments of the command line, without a checkpoint to continue from."""
    settings: tuple[str, ...]
    """The arguments from the ablation file."""
    is_start: bool = False
    """Whether this training only initialises others."""

    @property
    def title(self) -> str:
        """Variant and seed, for messages."""
        return f"{self.variant}, seed {self.seed}"

    @property
    def note_path(self) -> Path:
        """File with the settings that the folder was made with."""
        return self.folder / "ablation.json"


def starts_of(ablation: Ablation, runs_dir: Path) -> list[Run]:
    """The start trainings, one per seed; empty if the ablation has no start."""
    start = ablation.start
    return [] if start is None else [_start_run(start, seed, runs_dir) for seed in ablation.seeds]


def _start_run(start: Start, seed: int, runs_dir: Path) -> Run:
    config = os.path.relpath(EXPERIMENTS / f"{start.experiment}.yaml")
    place = ("--experiment", start.experiment, "--runs_dir", str(runs_dir), "--seed_everything", str(seed))
    folder = runs_dir / start.experiment / f"start_{start.name}_s{seed}"
    return Run(f"start {start.name}", seed, folder, ("fit", "--config", config, *start.args, *place), start.args, True)


def runs_of(ablation: Ablation, runs_dir: Path) -> list[Run]:
    """All runs of an ablation, seed by seed, so that the variants of an unfinished table have the same seeds."""
    runs = []
    for seed in ablation.seeds:
        for name, variant in ablation.variants.items():
            config = os.path.relpath(EXPERIMENTS / f"{variant.experiment or ablation.experiment}.yaml")
            settings = (*ablation.common, *variant.args)
            if ablation.start is not None:
                weights = _start_run(ablation.start, seed, runs_dir).folder / "checkpoints" / "last.ckpt"
                settings += (f"--trainer.callbacks+={_START_FROM}", f"--trainer.callbacks.checkpoint={weights}")
            place = ("--experiment", ablation.experiment, "--runs_dir", str(runs_dir), "--seed_everything", str(seed))
            folder = runs_dir / ablation.experiment / f"{ablation.name}_{name}_s{seed}"
            command = ("fit", "--config", config, *settings, *place)
            trained = () if variant.experiment is None else ("--config", f"{variant.experiment}.yaml")
            runs.append(Run(name, seed, folder, command, (*trained, *settings)))
    return runs


def last_checkpoint(run: Run) -> Path | None:
    """The checkpoint that an interrupted run resumes from, or None."""
    found = sorted((run.folder / "checkpoints").glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    last = run.folder / "checkpoints" / "last.ckpt"
    return last if last in found else found[-1] if found else None


def record_of(run: Run) -> dict[str, Any] | None:
    """The record of a finished run, or None if there is none or the run has not been tested.

    Raises:
        ValueError: If the record is damaged, or the folder was made with other settings.
    """
    path = run.folder / "run.json"
    try:
        record = json.loads(path.read_text()) if path.exists() else {}
        made_with = json.loads(run.note_path.read_text()) if run.note_path.exists() else list(run.settings)
    except ValueError as error:  # torn, or not even text
        raise ValueError(
            f"{path} or {run.note_path.name} beside it is damaged ({error}): move {run.folder} elsewhere to "
            "train it again"
        ) from None
    if made_with != list(run.settings) and ("test" in record or last_checkpoint(run) is not None):
        raise ValueError(
            f"{run.folder} was trained with other settings ({shlex.join(made_with) or 'none'}): give the variant "
            "another name, or move that folder elsewhere"
        )
    return record if "test" in record else None


class _Attempt:
    """A training in its own process, with its output in ``console.log`` of its folder."""

    def __init__(self, run: Run, threads: int | None) -> None:
        self.run = run
        run.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(run.note_path, [json.dumps(run.settings, indent=1).encode()])
        checkpoint = last_checkpoint(run)
        self.continues = checkpoint is not None
        resume = () if checkpoint is None else ("--ckpt_path", str(checkpoint))
        environment = os.environ | {RUN_ID_VARIABLE: run.folder.name}
        if run.is_start:  # an agent's run of the sweep is that of the variant, which follows
            environment = {name: value for name, value in environment.items() if name not in _OF_A_SWEEP}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        self._log = run.folder / "console.log"
        self._offset = self._log.stat().st_size if self._log.exists() else 0
        self._started_s = time.monotonic()
        with self._log.open("ab") as log:
            # Own session: an interrupt from the keyboard reaches only this tool, which then stops its trainings.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli", *run.command, *resume],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    @property
    def minutes(self) -> float:
        """Minutes since the start."""
        return (time.monotonic() - self._started_s) / 60

    def failure(self, status: int) -> str | None:
        """Reason why the run has no result, in one line, or None if it has one."""
        if status == 0:
            if record_of(self.run) is not None:
                return None
            return f"ended without a test result; see {self._log}"
        lines = self._log.read_bytes()[self._offset :].decode(errors="replace").splitlines()
        lines = [line.strip() for line in lines if line.strip()] or ["no output"]
        # The command line prints "error: ...", possibly over several lines; a crash ends with its reason.
        begin = max((i for i, line in enumerate(lines) if line.startswith("error: ")), default=len(lines) - 1)
        reason = textwrap.shorten(" ".join(lines[begin:]), _LONGEST_REASON, placeholder=" ...")
        return f"exit status {status}: {reason} ({self._log})"


def train(runs: Sequence[Run], *, jobs: int) -> list[str]:
    """Train the unfinished runs, several in parallel.

    Args:
        runs: The runs, in their order.
        jobs: Number of parallel processes; with more than 1, each has one thread.

    Returns:
        One line for each failed run; the other runs are finished.
    """
    failures: list[str] = []
    pending: list[Run] = []
    for run in runs:
        try:
            if record_of(run) is None:
                pending.append(run)
            else:
                print_progress(f"{run.title}: finished already")
        except ValueError as error:
            failures.append(f"{run.title}: {error}")
            print_progress(failures[-1])
    running: list[_Attempt] = []
    n_done = 0
    n_runs = len(pending)
    try:
        while pending or running:
            while pending and len(running) < jobs:
                attempt = _Attempt(pending.pop(0), threads=1 if jobs > 1 else None)
                running.append(attempt)
                print_progress(
                    f"{attempt.run.title}: {'resumes from its last checkpoint' if attempt.continues else 'starts'}"
                )
            for attempt in list(running):
                status = attempt.process.poll()
                if status is None:
                    continue
                running.remove(attempt)
                n_done += 1
                failure = attempt.failure(status)
                if failure is not None:
                    failures.append(f"{attempt.run.title}: {failure}")
                end = "done" if failure is None else failure
                print_progress(f"[{n_done}/{n_runs}] {attempt.run.title}: {end}, {attempt.minutes:.1f} min")
            if running:
                time.sleep(_POLL_S)
    finally:
        for attempt in running:
            attempt.process.terminate()  # a training then saves a checkpoint
        for attempt in running:
            attempt.process.wait()
    return failures


def finished_records(runs: Sequence[Run]) -> dict[tuple[str, int], dict[str, Any]]:
    """Records of the finished runs whose settings have not changed since, by variant and seed."""
    records = {}
    for run in runs:
        try:
            record = record_of(run)
        except ValueError as error:
            print_progress(f"{run.title} is left out: {error}")
            continue
        if record is not None:
            records[run.variant, run.seed] = record
    return records


def print_progress(text: str) -> None:
    """Write a line to stderr and flush it."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
