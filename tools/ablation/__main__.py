"""Train the variants of an experiment with several seeds and compare them.

``python -m tools.ablation experiments/ablations/X.yaml`` reads a file with an experiment and its variants::

    experiment: gam_depth
    common: [--trainer.max_steps, 1000]     # arguments of `python -m cli fit` for all runs, optional
    seeds: [0, 1, 2]
    baseline: full
    metrics: [abs_rel_img_median, delta1_img_median]
    variants:
      full: {}
      no_mask: {args: [--model.init_args.weighting, losses.weighting.Averaging], note: what is removed and why}
    start: {name: motion, experiment: monodepth2, args: [--trainer.max_steps, 1000]}     # optional

A variant may name an ``experiment`` of its own, and may be ``like`` another variant, whose arguments then precede its
own. The key ``extends`` works as in an experiment.

With ``start``, that experiment is trained first, once per seed. All variants of a seed are initialised with its last
weights, as far as they fit (``lightning_modules/callbacks/start_from.py``). Ablations with the same start share its
runs.

A run is stored in ``<runs_dir>/<experiment>/<ablation>_<variant>_s<seed>/``, a start in ``<runs_dir>/<its
experiment>/start_<name>_s<seed>/``, each with its output in ``console.log``. The same command continues an interrupted
ablation: finished runs are kept, interrupted ones resume from their last checkpoint. ``--variants`` and ``--seeds``
train a part of the runs and the starts that they need. The table always holds all finished runs; it is printed and
written to ``<runs_dir>/<ablation>.md``.
"""

import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from lightning_modules.command_line.experiment_metrics import check_metrics
from lightning_modules.command_line.wording import did_you_mean
from structures.errors import plain_reason
from structures.files import write_atomically
from tools.ablation.file import Ablation, read_ablation
from tools.ablation.runs import Run, finished_records, print_progress, runs_of, starts_of, train
from tools.ablation.table import tables
from tools.command import plain_parser


def check_measured(metrics: Sequence[str], records: Iterable[Mapping[str, Any]], where: Path) -> None:
    """Refuse a metric that no finished run has: its column would be empty.

    Args:
        metrics: Names without their stage.
        records: Records of the finished runs.
        where: The file that names the metrics.

    Raises:
        ValueError: If a metric is in no record; the message gives the nearest name and the known ones.
    """
    known = {name.removeprefix("test/") for record in records for name in record["test"]}
    unknown = next((metric for metric in metrics if metric not in known), None)
    if unknown is not None:
        similar = did_you_mean(unknown, known) or ";"
        raise ValueError(
            f"{where}: no finished run has the metric '{unknown}'{similar} known are {', '.join(sorted(known))}"
        )


def chosen_runs(
    ablation: Ablation, runs: Sequence[Run], *, variants: Sequence[str] | None, seeds: Sequence[int] | None
) -> list[Run]:
    """The runs of some variants and seeds, in their order.

    Args:
        ablation: The ablation.
        runs: Its runs.
        variants: Names of variants; None takes all.
        seeds: Seeds of the ablation; None takes all.

    Raises:
        ValueError: If the ablation has no such variant or seed; the message lists those that it has.
    """
    for name in variants or ():
        if name not in ablation.variants:
            similar = did_you_mean(name, ablation.variants) or f"; there are {', '.join(ablation.variants)}."
            raise ValueError(f"--variants: the ablation {ablation.name} has no variant '{name}'{similar}")
    for seed in seeds or ():
        if seed not in ablation.seeds:
            known = ", ".join(map(str, ablation.seeds))
            raise ValueError(f"--seeds: the ablation {ablation.name} has no seed {seed}; its seeds are {known}.")
    return [
        run for run in runs if (variants is None or run.variant in variants) and (seeds is None or run.seed in seeds)
    ]


def _leave(signal_number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal_number)


def main(args: list[str] | None = None) -> int:
    """Train the missing runs, then write the table.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, or 1 if the file is wrong, a run failed, or no run is finished.
    """
    parser = plain_parser("tools.ablation", __doc__)
    parser.add_argument("file", type=Path, help="experiments/ablations/<name>.yaml")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="folder of all runs (default: runs)")
    parser.add_argument("--jobs", type=int, default=1, help="parallel trainings; with more than 1, each has one thread")
    parser.add_argument("--variants", nargs="+", help="train these variants alone (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", help="train these seeds alone (default: all)")
    parser.add_argument("--table-only", action="store_true", help="train nothing; write the table of the finished runs")
    options = parser.parse_args(args)
    if options.jobs < 1:
        parser.error(f"--jobs is {options.jobs}, but has to be at least 1")
    try:
        ablation = read_ablation(options.file)
        runs = runs_of(ablation, options.runs_dir)
        chosen = chosen_runs(ablation, runs, variants=options.variants, seeds=options.seeds)
    except (OSError, ValueError) as error:
        print_progress(f"error: {plain_reason(error)}")
        return 1
    starts = [run for run in starts_of(ablation, options.runs_dir) if run.seed in {each.seed for each in chosen}]
    failures: list[str] = []
    if not options.table_only:
        try:
            first = [run for run in runs if run.seed == ablation.seeds[0]]
            check_metrics(ablation.metrics, [run.command[1:] for run in first], options.file)
        except ValueError as error:
            print_progress(f"error: {error}")
            return 1
    if not options.table_only:
        previous = signal.signal(signal.SIGTERM, _leave)  # so that the trainings are stopped too
        try:
            failures = train(starts, jobs=options.jobs)
            begun = {seed for _, seed in finished_records(starts)}
            failures += train([run for run in chosen if run.seed in begun or not starts], jobs=options.jobs)
        except KeyboardInterrupt:
            print_progress("interrupted; run the same command to continue")
            return 130
        finally:
            signal.signal(signal.SIGTERM, previous)
    records = finished_records(runs)
    if not records:
        print_progress(f"no run of {ablation.name} is finished below {options.runs_dir}")
    else:
        try:
            check_measured(ablation.metrics, records.values(), options.file)
        except ValueError as error:
            print_progress(f"error: {error}")
            return 1
        text = tables(ablation, records) + "\n"
        write_atomically(options.runs_dir / f"{ablation.name}.md", [text.encode()])
        sys.stdout.write(text)
    for failure in failures:
        print_progress(f"failed: {failure}")
    return 1 if failures or not records else 0


if __name__ == "__main__":
    sys.exit(main())
