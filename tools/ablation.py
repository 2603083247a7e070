"""Train the variants of an experiment with several seeds and compare them.

``python -m tools.ablation experiments/ablations/X.yaml`` takes a file that names an experiment and what is changed::

    experiment: gam_depth
    common: [--trainer.max_steps, 1000]     # arguments of `python -m cli fit` for all runs, optional
    seeds: [0, 1, 2]
    baseline: full
    metrics: [abs_rel_img_median, delta1_img_median]
    variants:
      full: {}
      no_mask: {args: [--model.init_args.weighting, losses.weighting.Averaging], note: what is left out and why}
    start: {name: motion, experiment: monodepth2, args: [--trainer.max_steps, 1000]}     # optional

With ``start``, that experiment is trained first, once a seed, and all variants of a seed begin with its last weights as
far as they fit (``lightning_modules/callbacks/start_from.py``); ablations with the same start share its runs.

Runs land in ``<runs_dir>/<experiment>/<ablation>_<variant>_s<seed>/`` as any other, starts in
``<runs_dir>/<its experiment>/start_<name>_s<seed>/``, their output in ``console.log`` there. The same command goes on
where an earlier one stopped: finished runs are kept, interrupted ones continue from their last checkpoint. The table
goes to the standard output and to ``<runs_dir>/<ablation>.md``.
"""

import json
import math
import os
import shlex
import signal
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from scipy.stats import t as student

from lightning_modules.command_line.config_files import read_mapping
from lightning_modules.command_line.experiment_metrics import check_metrics
from lightning_modules.command_line.plain_parser import PlainParser
from lightning_modules.command_line.wording import did_you_mean
from lightning_modules.run_folder import RUN_ID_VARIABLE, check_name
from structures.errors import plain_reason
from structures.files import write_atomically

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
CONFIDENCE = 0.95
"""Coverage of the intervals of paired differences."""

_POLL_S = 0.5
_LONGEST_REASON = 300
_REQUIRED = ("experiment", "seeds", "baseline", "metrics", "variants")
_KEYS = ("common", *_REQUIRED, "start")
_VARIANT_KEYS = ("args", "note")
_START_KEYS = ("name", "experiment", "args")
_START_FROM = "lightning_modules.callbacks.start_from.StartFrom"


@dataclass(frozen=True)
class Variant:
    """What is changed about the experiment: arguments of ``python -m cli fit``, and a note for the table."""

    args: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Start:
    """The training whose last weights all variants of a seed begin with."""

    name: str
    experiment: str
    args: tuple[str, ...]


@dataclass(frozen=True)
class Ablation:
    """An ablation file; see the head of this file."""

    name: str
    experiment: str
    common: tuple[str, ...]
    seeds: tuple[int, ...]
    baseline: str
    metrics: tuple[str, ...]
    variants: dict[str, Variant]
    start: Start | None = None


@dataclass(frozen=True)
class Run:
    """One training."""

    variant: str
    seed: int
    folder: Path
    command: tuple[str, ...]
    """Arguments of the command line, without a checkpoint to continue from."""
    settings: tuple[str, ...]
    """Those of them that the ablation file gives."""

    @property
    def title(self) -> str:
        """What the user calls it."""
        return f"{self.variant}, seed {self.seed}"

    @property
    def note_path(self) -> Path:
        """The file that keeps with which settings the folder was made."""
        return self.folder / "ablation.json"


def _arguments(value: Any, where: str) -> tuple[str, ...]:
    """Arguments as text; numbers, flags and nested values are written as YAML reads them back."""
    if not isinstance(value, list):
        raise ValueError(f"{where} is {value!r}, but a list of command line arguments is needed.")
    return tuple(item if isinstance(item, str) else json.dumps(item) for item in value)


def _check_keys(given: Any, known: Sequence[str], required: Sequence[str], where: str) -> None:
    if not isinstance(given, Mapping):
        raise ValueError(f"{where} is {given!r}, but a mapping with the keys {', '.join(known)} is needed.")
    unknown = [str(key) for key in given if key not in known]
    if unknown:
        similar = did_you_mean(unknown[0], known) or f"; known are {', '.join(known)}."
        raise ValueError(f"{where} has the unknown key '{unknown[0]}'{similar}")
    missing = [key for key in required if key not in given]
    if missing:
        raise ValueError(f"{where} lacks the key '{missing[0]}'.")


def _check_experiment(name: Any, path: Path) -> None:
    check_name(name, f"{path}: experiment")
    if not (EXPERIMENTS / f"{name}.yaml").is_file():
        similar = did_you_mean(name, [file.stem for file in EXPERIMENTS.glob("[!_]*.yaml")])
        raise ValueError(f"{path}: there is no experiment '{name}' in {os.path.relpath(EXPERIMENTS)}/{similar or '.'}")


def read_ablation(path: Path) -> Ablation:
    """Read and check an ablation file.

    Raises:
        ValueError: If it is no YAML, or a key or a value is wrong.
        OSError: If it cannot be read.
    """
    content = read_mapping(path.read_bytes(), str(path))
    _check_keys(content, _KEYS, _REQUIRED, str(path))
    experiment, seeds, metrics = content["experiment"], content["seeds"], content["metrics"]
    _check_experiment(experiment, path)
    start = None
    if content.get("start") is not None:
        _check_keys(content["start"], _START_KEYS, ("name", "experiment"), f"{path}: start")
        name, args = content["start"]["name"], content["start"].get("args", [])
        check_name(name, f"{path}: start")
        _check_experiment(content["start"]["experiment"], path)
        start = Start(name, content["start"]["experiment"], _arguments(args, f"{path}: start: args"))
    plain = isinstance(seeds, list) and all(isinstance(seed, int) and not isinstance(seed, bool) for seed in seeds)
    if not plain or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"{path}: seeds is {seeds!r}, but a list of different whole numbers is needed.")
    if not isinstance(metrics, list) or not metrics or not all(isinstance(metric, str) for metric in metrics):
        raise ValueError(f"{path}: metrics is {metrics!r}, but a list of names is needed.")
    if not isinstance(content["variants"], Mapping) or not content["variants"]:
        raise ValueError(f"{path}: variants is {content['variants']!r}, but a mapping of names is needed.")
    variants = {}
    for name, settings in content["variants"].items():
        where = f"{path}: variant '{name}'"
        check_name(name, f"{path}: variant")
        settings = {} if settings is None else settings
        _check_keys(settings, _VARIANT_KEYS, (), where)
        args = _arguments(settings.get("args", []), f"{where}: args")
        variants[name] = Variant(args, " ".join(str(settings.get("note", "")).split()))
    if content["baseline"] not in variants:
        raise ValueError(f"{path}: the baseline '{content['baseline']}' is none of {', '.join(variants)}.")
    return Ablation(
        name=path.stem,
        experiment=experiment,
        common=_arguments(content.get("common", []), f"{path}: common"),
        seeds=tuple(seeds),
        baseline=content["baseline"],
        metrics=tuple(metrics),
        variants=variants,
        start=start,
    )


def starts_of(ablation: Ablation, runs_dir: Path) -> list[Run]:
    """The trainings that the variants begin from, one a seed; none where the ablation has no start."""
    start = ablation.start
    return [] if start is None else [_start_run(start, seed, runs_dir) for seed in ablation.seeds]


def _start_run(start: Start, seed: int, runs_dir: Path) -> Run:
    config = os.path.relpath(EXPERIMENTS / f"{start.experiment}.yaml")
    place = ("--experiment", start.experiment, "--runs_dir", str(runs_dir), "--seed_everything", str(seed))
    folder = runs_dir / start.experiment / f"start_{start.name}_s{seed}"
    return Run(f"start {start.name}", seed, folder, ("fit", "--config", config, *start.args, *place), start.args)


def runs_of(ablation: Ablation, runs_dir: Path) -> list[Run]:
    """All trainings of an ablation, seed by seed, so that an unfinished table compares like with like."""
    config = os.path.relpath(EXPERIMENTS / f"{ablation.experiment}.yaml")
    runs = []
    for seed in ablation.seeds:
        for name, variant in ablation.variants.items():
            settings = (*ablation.common, *variant.args)
            if ablation.start is not None:
                weights = _start_run(ablation.start, seed, runs_dir).folder / "checkpoints" / "last.ckpt"
                settings += (f"--trainer.callbacks+={_START_FROM}", f"--trainer.callbacks.checkpoint={weights}")
            place = ("--experiment", ablation.experiment, "--runs_dir", str(runs_dir), "--seed_everything", str(seed))
            folder = runs_dir / ablation.experiment / f"{ablation.name}_{name}_s{seed}"
            runs.append(Run(name, seed, folder, ("fit", "--config", config, *settings, *place), settings))
    return runs


def last_checkpoint(run: Run) -> Path | None:
    """The checkpoint that an interrupted run goes on from, or None if it has none."""
    found = sorted((run.folder / "checkpoints").glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    last = run.folder / "checkpoints" / "last.ckpt"
    return last if last in found else found[-1] if found else None


def record_of(run: Run) -> dict[str, Any] | None:
    """The record of a finished run, or None if it is not there or has not been tested.

    Raises:
        ValueError: If the record is damaged, or what is in the folder was trained with other settings.
    """
    path = run.folder / "run.json"
    try:
        record = json.loads(path.read_text()) if path.exists() else {}
        made_with = json.loads(run.note_path.read_text()) if run.note_path.exists() else list(run.settings)
    except ValueError as error:  # torn, or not even text
        raise ValueError(
            f"{path} or {run.note_path.name} beside it is damaged ({error}): move {run.folder} elsewhere, and it is "
            "trained again"
        ) from None
    if made_with != list(run.settings) and ("test" in record or last_checkpoint(run) is not None):
        raise ValueError(
            f"{run.folder} was trained with other settings ({shlex.join(made_with) or 'none'}): give the variant "
            "another name, or move that folder elsewhere"
        )
    return record if "test" in record else None


class _Attempt:
    """A training in a process of its own; its output goes to ``console.log`` in its folder."""

    def __init__(self, run: Run, threads: int | None) -> None:
        self.run = run
        run.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(run.note_path, [json.dumps(run.settings, indent=1).encode()])
        checkpoint = last_checkpoint(run)
        self.continues = checkpoint is not None
        resume = () if checkpoint is None else ("--ckpt_path", str(checkpoint))
        environment = os.environ | {RUN_ID_VARIABLE: run.folder.name}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        self._log = run.folder / "console.log"
        self._offset = self._log.stat().st_size if self._log.exists() else 0
        self._started_s = time.monotonic()
        with self._log.open("ab") as log:
            # A session of its own: an interrupt from the keyboard reaches this tool, which then stops its trainings.
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
        """Why the run has no result, in one line, or None if it has one."""
        if status == 0:
            if record_of(self.run) is not None:
                return None
            return f"ended without a test result; see {self._log}"
        lines = self._log.read_bytes()[self._offset :].decode(errors="replace").splitlines()
        lines = [line.strip() for line in lines if line.strip()] or ["no output"]
        # The command line says "error: ..." and its parser goes on in the next lines; a crash has its reason last.
        begin = max((i for i, line in enumerate(lines) if line.startswith("error: ")), default=len(lines) - 1)
        told = textwrap.shorten(" ".join(lines[begin:]), _LONGEST_REASON, placeholder=" ...")
        return f"exit status {status}: {told} ({self._log})"


def train(runs: Sequence[Run], *, jobs: int) -> list[str]:
    """Train what is not finished yet, several at once.

    Args:
        runs: The runs, in the order in which they start.
        jobs: Number of processes at once; above 1 each gets one thread.

    Returns:
        What went wrong, a line a run; the other runs are finished.
    """
    failures: list[str] = []
    pending: list[Run] = []
    for run in runs:
        try:
            if record_of(run) is None:
                pending.append(run)
            else:
                _tell(f"{run.title}: finished before")
        except ValueError as error:
            failures.append(f"{run.title}: {error}")
            _tell(failures[-1])
    running: list[_Attempt] = []
    n_done = 0
    n_runs = len(pending)
    try:
        while pending or running:
            while pending and len(running) < jobs:
                attempt = _Attempt(pending.pop(0), threads=1 if jobs > 1 else None)
                running.append(attempt)
                _tell(f"{attempt.run.title}: {'goes on from its last checkpoint' if attempt.continues else 'starts'}")
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
                _tell(f"[{n_done}/{n_runs}] {attempt.run.title}: {end}, {attempt.minutes:.1f} min")
            if running:
                time.sleep(_POLL_S)
    finally:
        for attempt in running:
            attempt.process.terminate()  # a training then saves where it is
        for attempt in running:
            attempt.process.wait()
    return failures


def paired_interval(differences: Sequence[float], *, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Mean of paired differences with its t interval, ``mean ± t_(n - 1) sd / sqrt(n)``.

    Args:
        differences: One a seed, variant minus baseline.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        Mean, lower and upper end; the ends are NaN for a single difference.

    >>> [round(value, 4) for value in paired_interval([1.0, 2.0, 3.0])]
    [2.0, -0.4841, 4.4841]
    """
    mean = statistics.fmean(differences)
    n = len(differences)
    if n < 2:
        return mean, math.nan, math.nan
    half = float(student.ppf((1 + confidence) / 2, n - 1)) * statistics.stdev(differences) / math.sqrt(n)
    return mean, mean - half, mean + half


def tables(ablation: Ablation, records: Mapping[tuple[str, int], dict[str, Any]]) -> str:
    """Markdown: means over seeds, paired differences to the baseline, and what was run.

    Args:
        ablation: The ablation.
        records: Records of the finished runs by variant and seed.

    Returns:
        The text, without a newline at its end.
    """

    def values(variant: str, metric: str) -> dict[int, float]:
        tests = {seed: records[variant, seed]["test"] for seed in ablation.seeds if (variant, seed) in records}
        return {seed: test[f"test/{metric}"] for seed, test in tests.items() if f"test/{metric}" in test}

    def mean(variant: str, metric: str) -> str:
        found = list(values(variant, metric).values())
        if not found:
            return ""
        spread = f" ± {statistics.stdev(found):.4f}" if len(found) > 1 else ""
        return f"{statistics.fmean(found):.4f}{spread}"

    def difference(variant: str, metric: str) -> str:
        ours, theirs = values(variant, metric), values(ablation.baseline, metric)
        paired = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
        if not paired:
            return ""
        centre, low, high = paired_interval(paired)
        if len(paired) < 2:
            return f"{centre:+.4f}"
        text = f"{centre:+.4f} [{low:+.4f}, {high:+.4f}]"
        return f"**{text}**" if low > 0 or high < 0 else text

    finished = {name: sum((name, seed) in records for seed in ablation.seeds) for name in ablation.variants}
    others = [name for name in ablation.variants if name != ablation.baseline]
    means = [
        [name, str(finished[name]), *(mean(name, metric) for metric in ablation.metrics)] for name in ablation.variants
    ]
    differences = [[name, *(difference(name, metric) for metric in ablation.metrics)] for name in others]
    blocks = [
        f"# {ablation.name}",
        "Mean ± standard deviation over the seeds:",
        _markdown(["variant", "runs", *ablation.metrics], means),
    ]
    if others:
        blocks += [
            f"Differences to `{ablation.baseline}` with the same seed: mean [{CONFIDENCE:.0%} t interval], bold where "
            "the interval leaves out 0 (each by itself; nothing is corrected for the number of comparisons):",
            _markdown(["variant", *ablation.metrics], differences),
        ]
    lines = [
        f"- experiment `{ablation.experiment}`, seeds {', '.join(map(str, ablation.seeds))}"
        + (f", all with `{shlex.join(ablation.common)}`" if ablation.common else "")
    ]
    if ablation.start is not None:
        given = f" with `{shlex.join(ablation.start.args)}`" if ablation.start.args else ""
        lines.append(f"- all of a seed begin with the last weights of `{ablation.start.experiment}`{given}")
    for name, variant in ablation.variants.items():
        parts = [f"`{shlex.join(variant.args)}`" if variant.args else "as it is", variant.note]
        lines.append(f"- **{name}**: {'; '.join(part for part in parts if part)}")
    if records:
        minutes = [record["fit_minutes"] for record in records.values() if "fit_minutes" in record]
        spent = f", {statistics.fmean(minutes):.1f} minutes a training" if minutes else ""
        commits = ", ".join(sorted({str(record.get("commit", "unknown"))[:8] for record in records.values()}))
        n_runs = len(ablation.seeds) * len(ablation.variants)
        lines.append(f"- {len(records)} of {n_runs} runs, commit {commits}{spent}")
    return "\n\n".join([*blocks, "\n".join(lines)])


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def finished_records(runs: Sequence[Run]) -> dict[tuple[str, int], dict[str, Any]]:
    """Records of the runs that are finished and were made with the settings they have now, by variant and seed."""
    records = {}
    for run in runs:
        try:
            record = record_of(run)
        except ValueError as error:
            _tell(f"{run.title} is left out: {error}")
            continue
        if record is not None:
            records[run.variant, run.seed] = record
    return records


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _leave(signal_number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal_number)


def main(args: list[str] | None = None) -> int:
    """Train what is missing, then write the table.

    Returns:
        0, or 1 if the file is wrong, a run failed, or nothing is finished.
    """
    parser = PlainParser(prog="python -m tools.ablation", description="Train and compare variants.")
    parser.add_argument("file", type=Path, help="experiments/ablations/<name>.yaml")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="folder of all runs (default: runs)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once; above 1 each gets one thread")
    parser.add_argument("--table-only", action="store_true", help="train nothing, read what is there")
    options = parser.parse_args(args)
    if options.jobs < 1:
        parser.error(f"--jobs is {options.jobs}, but must be at least 1")
    try:
        ablation = read_ablation(options.file)
    except (OSError, ValueError) as error:
        _tell(f"error: {plain_reason(error)}")
        return 1
    starts, runs = starts_of(ablation, options.runs_dir), runs_of(ablation, options.runs_dir)
    failures: list[str] = []
    if not options.table_only:
        try:
            first = [run for run in runs if run.seed == ablation.seeds[0]]
            check_metrics(ablation.metrics, [run.command[1:] for run in first], options.file)
        except ValueError as error:
            _tell(f"error: {error}")
            return 1
    if not options.table_only:
        previous = signal.signal(signal.SIGTERM, _leave)  # so that no training is left behind
        try:
            failures = train(starts, jobs=options.jobs)
            begun = {seed for _, seed in finished_records(starts)}
            failures += train([run for run in runs if run.seed in begun or not starts], jobs=options.jobs)
        except KeyboardInterrupt:
            _tell("interrupted; the same command goes on from here")
            return 130
        finally:
            signal.signal(signal.SIGTERM, previous)
    records = finished_records(runs)
    if not records:
        _tell(f"no run of {ablation.name} is finished below {options.runs_dir}")
    else:
        text = tables(ablation, records) + "\n"
        write_atomically(options.runs_dir / f"{ablation.name}.md", [text.encode()])
        sys.stdout.write(text)
    for failure in failures:
        _tell(f"failed: {failure}")
    return 1 if failures or not records else 0


if __name__ == "__main__":
    sys.exit(main())
