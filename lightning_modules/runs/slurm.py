"""Distinguishes tasks of ``srun`` from commands that are run inside a SLURM job without it, and requeues a job."""

import os
import subprocess
import sys

_FIRST_SPECIAL_STEP = 0xFFFFFFF0
"""SLURM numbers the steps of ``srun`` from 0; batch scripts and interactive shells have numbers from this one on."""
_RANK_VARIABLES = ("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")

_REQUEUE_TIMEOUT_S = 15.0


def whole_number(name: str) -> int | None:
    """A number that a launcher (SLURM, torchrun) sets in the environment.

    Returns:
        The number, or None where the variable is not set.

    Raises:
        ValueError: If it is not a whole number.
    """
    value = os.environ.get(name)
    if value is None:
        return None
    if not value.isdecimal():
        raise ValueError(f"the environment variable {name} is {value!r}, but has to be a whole number: unset it")
    return int(value)


def count_of_tasks() -> int:
    """Tasks of the SLURM job or step that this process belongs to; 1 outside of SLURM."""
    return whole_number("SLURM_NTASKS") or 1


def started_by_srun() -> bool:
    """Whether ``srun`` started this process as a task, and not as a command in a job's shell or batch script."""
    step = os.environ.get("SLURM_STEP_ID", os.environ.get("SLURM_STEPID", ""))
    in_step = step.isdecimal() and int(step) < _FIRST_SPECIAL_STEP
    by_hand = any(name.startswith("SLURM_PTY_") for name in os.environ)  # srun --pty is an interactive shell
    return in_step and not by_hand


def is_first_rank() -> bool:
    """Whether this process is the first of the run, according to the environment, before a trainer exists."""
    ranks = [whole_number(name) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK")]
    return next((rank for rank in ranks if rank is not None), 0) == 0


def requeue_job() -> bool:
    """Requeue the job of this process, or print why that did not work; whether it did."""
    array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID", "")
    name = job if array is None else f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    try:
        done = subprocess.run(
            ["scontrol", "requeue", name], capture_output=True, text=True, timeout=_REQUEUE_TIMEOUT_S, check=False
        )
        reason = "" if done.returncode == 0 else " ".join(done.stderr.split()) or f"exit code {done.returncode}"
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(error)
    if reason:
        sys.stderr.write(
            f"job {name} could not be requeued ({reason}): submit the same command with the same run id again, and it "
            "goes on\n"
        )
    else:
        sys.stderr.write(f"job {name} is requeued\n")
    return not reason


def ignore_tasks_without_srun() -> None:
    """Remove SLURM's number of tasks from the environment of a command that ``srun`` did not start.

    Lightning takes the number of tasks as the number of processes, and would wait forever for the others, or stop with
    a traceback. Nothing changes for a single task, nor for tasks of ``srun``.

    Raises:
        ValueError: If ``srun`` started several tasks of a job without a number of tasks per node.
    """
    tasks = count_of_tasks()
    if tasks == 1:
        return
    if started_by_srun() and "SLURM_PROCID" in os.environ:
        if "SLURM_NTASKS_PER_NODE" not in os.environ:
            raise ValueError(
                f"srun started {tasks} tasks, but the job sets no number of tasks per node: request "
                f"--nodes and --ntasks-per-node in place of --ntasks={tasks}, as in cluster/slurm.sbatch"
            )
        return
    for name in _RANK_VARIABLES:  # processes that this one starts must not read them
        os.environ.pop(name, None)
    sys.stderr.write(
        f"SLURM gave this shell {tasks} tasks, but srun did not start this command: it runs as one process. To use all "
        "tasks, begin with srun, as in cluster/slurm.sbatch.\n"
    )
