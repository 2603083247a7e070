"""Where a run lives and under which name: ``<runs_dir>/<experiment>/<run id>``, the same for every rank and requeue."""

import netrc
import os
import secrets
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

RUN_ID_VARIABLE = "PLUMBLINE_RUN_ID"


def run_id() -> str:
    """Id of this run, equal on all its ranks and after a requeue.

    Returns:
        ``PLUMBLINE_RUN_ID`` if it is set (by the user, by ``cluster/slurm.sbatch`` or by the process that started this
        rank), else an id that the tasks of one ``srun`` or ``torchrun`` share, else the time and four random digits.
    """
    environment = os.environ
    if RUN_ID_VARIABLE in environment:
        return environment[RUN_ID_VARIABLE]
    if int(environment.get("SLURM_NTASKS", "1")) > 1 and "SLURM_STEP_ID" in environment:
        return f"{environment['SLURM_JOB_ID']}.{environment['SLURM_STEP_ID']}"
    if environment.get("TORCHELASTIC_RUN_ID", "none") != "none":
        return environment["TORCHELASTIC_RUN_ID"]
    return f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def place_run(config: Namespace, subcommand: str) -> Path:
    """Name the experiment of a configuration and find the run's folder.

    Args:
        config: Resolved configuration of a subcommand; only ``experiment`` is written, and only where it is not set, so
            that the configuration can be run again into another folder.
        subcommand: Everything but ``fit`` gets its name appended, so that it never writes into a training's folder.

    Returns:
        ``<runs_dir>/<experiment>/<run id>``, or the ``default_root_dir`` that the configuration names.
    """
    if config.experiment is None:
        files = config.get("config")
        config.experiment = Path(str(files[0])).stem if files else "unnamed"
    if config.trainer.default_root_dir is not None:
        return Path(config.trainer.default_root_dir)
    return Path(config.runs_dir) / config.experiment / (run_id() if subcommand == "fit" else f"{run_id()}-{subcommand}")


def is_first_rank() -> bool:
    """Whether this process is the first of the run, told from the environment, before any trainer exists."""
    ranks = (os.environ.get(name) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))
    return next((int(rank) for rank in ranks if rank is not None), 0) == 0


def git_commit() -> str:
    """Commit of the working tree with ``+dirty`` when tracked files differ, or ``unknown`` outside a checkout."""
    root = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        answer = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10)
        answer.check_returncode()
        return answer.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return commit + ("+dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def wandb_mode() -> Literal["online", "offline", "disabled"]:
    """W&B mode: what ``WANDB_MODE`` says, else online if a key or a login is there, else offline."""
    mode = os.environ.get("WANDB_MODE")
    if mode in {"online", "offline", "disabled"}:
        return mode  # type: ignore[return-value]  # the set narrows the value, not the type
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    try:
        logins = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return "offline"
    return "online" if any("wandb" in host for host in logins) else "offline"


def keep_previous_metrics(run_dir: Path) -> None:
    """Move the metrics of an earlier attempt aside: the CSV logger deletes what it finds in its place.

    Args:
        run_dir: The run's folder; ``metrics.csv`` becomes ``metrics.<n>.csv`` with the next free n, from 1.
    """
    current = run_dir / "metrics.csv"
    if current.is_file():
        n = 1
        while (run_dir / f"metrics.{n}.csv").exists():
            n += 1
        current.rename(run_dir / f"metrics.{n}.csv")
