"""Train the grid of a sweep: with agents of W&B where it is online, else here, resumable.

``python -m tools.sweep experiments/sweeps/gam_depth.yaml`` creates the sweep in W&B and starts an agent, which trains
one run after another. The id of the sweep is kept in ``<runs_dir>/sweeps/<name>.json``: the same command goes on with
it, and ``--join entity/project/id`` starts an agent of it on another machine. Without W&B, or with ``--local``, the
same grid is trained by ``tools.ablation``. Both ways make the same folders; finished runs are kept, and interrupted
ones resume.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import wandb

from lightning_modules.runs.loggers import PROJECT
from structures.errors import one_line
from tools.ablation.__main__ import main as ablation
from tools.ablation.file import read_ablation
from tools.ablation.runs import finished_records, print_progress, runs_of
from tools.command import plain_parser, run_tool
from tools.prepare_inputs import main as prepare_inputs
from tools.sweep.definition import Sweep, read_sweep
from tools.sweep.state import Known, read_state, write_state
from tools.wandb_project import project, why_offline

_JOINED = re.compile(r"(?P<project>(?:[\w.-]+/)?[\w.-]+)/(?P<sweep>\w+)")


def main(words: list[str] | None = None) -> int:
    """Train the grid.

    Args:
        words: Words of the call; None takes ``sys.argv[1:]``.

    Returns:
        0; 1 if the file is wrong, a run failed, W&B refuses the sweep, or no run is finished; 2 if the call is wrong;
        130 after Ctrl-C.
    """
    parser = plain_parser("tools.sweep", __doc__)
    parser.add_argument("file", type=Path, help="experiments/sweeps/<name>.yaml")
    parser.add_argument("--project", type=project, help=f"entity/project (default: {PROJECT} of your login)")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="folder of all runs (default: runs)")
    parser.add_argument("--local", action="store_true", help="train here, also where W&B is online")
    parser.add_argument("--join", help="entity/project/id of a sweep to start an agent of")
    parser.add_argument("--count", type=int, help="number of runs of the agent (default: until the grid is done)")
    parser.add_argument("--jobs", type=int, default=1, help="parallel trainings without W&B (default: 1)")

    def work(options: Any) -> int:
        sweep = read_sweep(options.file)
        known = None if options.join is None else _joined(options.join)
        reason = "--local is given" if options.local else why_offline()
        if reason is not None and known is not None:
            raise ValueError(f"--join needs W&B, but {reason}")
        status = prepare_inputs(["--ablation", str(sweep.ablation)])
        if status:
            return status
        if reason is not None:
            print_progress(f"without W&B ({reason}): the grid of {sweep.name} is trained here")
            return _train_here(sweep, options)
        known = _created(sweep, options) if known is None else known
        return _run_agent(sweep, known, options)

    return run_tool(parser, work, words)


def _train_here(sweep: Sweep, options: Any) -> int:
    words = [str(sweep.ablation), "--runs-dir", str(options.runs_dir), "--jobs", str(options.jobs)]
    return ablation([*words, "--variants", *sweep.variants, "--seeds", *map(str, sweep.seeds)])


def _joined(text: str) -> Known:
    found = _JOINED.fullmatch(text)
    if found is None:
        raise ValueError(f"--join is '{text}', but entity/project/id is needed, as `make sweep` prints it")
    return Known(found["sweep"], found["project"])


def _created(sweep: Sweep, options: Any) -> Known:
    """The sweep in W&B, created unless it exists.

    Raises:
        ValueError: If W&B refuses it.
    """
    where = str(options.project) if options.project else os.environ.get("WANDB_PROJECT") or PROJECT
    known = read_state(options.runs_dir, sweep, where)
    if known is not None:
        print_progress(f"the sweep {known.path} goes on")
        return known
    entity = options.project.entity if options.project else None
    try:
        identity = wandb.sweep(sweep.settings, entity=entity, project=where.rpartition("/")[2])
    except Exception as error:  # W&B raises errors of many kinds
        raise ValueError(
            f"W&B did not create the sweep ({one_line(error)}); check PROJECT={where} and `wandb login`, or train "
            "the grid here with ARGS=--local"
        ) from error
    known = Known(str(identity), where)
    write_state(options.runs_dir, sweep, known)
    print_progress(f"another machine joins with: make sweep EXP={sweep.name} ARGS='--join {known.path}'")
    return known


def _run_agent(sweep: Sweep, known: Known, options: Any) -> int:
    """Start an agent, wait for its end, and print the table of the runs in this folder."""
    count = [] if options.count is None else ["--count", str(options.count)]
    # The sweep's command begins with `python`, which has to be this one.
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "agent", *count, known.path], env=os.environ | {"PATH": folders}
        )
    except KeyboardInterrupt:
        print_progress("interrupted; run the same command to continue")
        return 130
    ended = read_ablation(sweep.ablation)
    runs = [
        run for run in runs_of(ended, options.runs_dir) if run.variant in sweep.variants and run.seed in sweep.seeds
    ]
    finished = len(finished_records(runs))
    if finished < len(runs):
        print_progress(
            f"{finished} of {len(runs)} runs are finished below {options.runs_dir}; runs of this machine that were "
            f"interrupted resume with: make sweep EXP={sweep.name} ARGS=--local"
        )
    table = ablation([str(sweep.ablation), "--runs-dir", str(options.runs_dir), "--table-only"]) if finished else 0
    return 1 if done.returncode else table


if __name__ == "__main__":
    sys.exit(main())
