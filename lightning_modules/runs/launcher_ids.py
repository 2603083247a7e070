"""Ids that SLURM and torchrun give to a run, the same for all its processes and when its command starts again."""

import os
import re
import sys
from pathlib import Path

from lightning_modules.runs.slurm import count_of_tasks, started_by_srun, whole_number

_RANDOM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Ids that ``torchrun --standalone`` draws anew at every start."""
_INTERACTIVE_STEP = str(0xFFFFFFFA)
_INTERACTIVE_JOBS = ("bash", "interactive")
"""Names of SLURM jobs that are shells, as Lightning has them."""


def launcher_id() -> tuple[str, str] | None:
    """The id that a launcher gives to this run, and what it is, for messages.

    Returns:
        The first of these: the ``--rdzv-id`` of torchrun; SLURM's job id, with the index in an array
        (``<job>_<index>``), which a requeued job keeps; in an interactive job of SLURM the job and step of several
        tasks of ``srun``; the process of torchrun, which starts its workers again after a failure. None without a
        launcher, in an interactive job, and where torchrun started several nodes without an id.

    Raises:
        ValueError: If SLURM's number of tasks is no number.
    """
    torch_id = os.environ.get("TORCHELASTIC_RUN_ID")
    if torch_id not in (None, "none") and not _RANDOM.fullmatch(str(torch_id)):
        return str(torch_id), "the id of torchrun (--rdzv-id)"
    job = os.environ.get("SLURM_JOB_ID")
    if job is not None and not _is_interactive():
        array, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
        if array is not None and task is not None:
            return f"{array}_{task}", "the id of the SLURM array task"
        return job, "the id of the SLURM job"
    if job is not None and count_of_tasks() > 1 and started_by_srun():
        return f"{job}.{os.environ['SLURM_STEP_ID']}", "the id of the SLURM step"
    if torch_id not in (None, "none"):
        return str(torch_id), "the id of torchrun"
    if torch_id is not None and os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE"):
        started = started_at(os.getppid())
        return None if started is None else (f"torchrun-{os.getppid()}-{started}", "the id of torchrun's process")
    return None


def _is_interactive() -> bool:
    """Whether this is typed in a job's shell, in which every command is another run."""
    step = os.environ.get("SLURM_STEP_ID", os.environ.get("SLURM_STEPID", ""))
    try:
        typed = sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # it is closed
        typed = False
    return (
        typed
        or step == _INTERACTIVE_STEP
        or os.environ.get("SLURM_JOB_NAME") in _INTERACTIVE_JOBS
        or any(name.startswith("SLURM_PTY_") for name in os.environ)
    )


def started_at(process: int) -> str | None:
    """The time at which a process started, in ticks since the machine did; None if it is not known.

    With it a process is told from a later one of the same number.
    """
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def restart_count() -> int:
    """How many times SLURM has started this job again; 0 outside of SLURM."""
    return whole_number("SLURM_RESTART_COUNT") or 0
