"""Tells a task of ``srun`` from a command that was merely typed inside of a SLURM job."""

import os
import sys

_FIRST_SPECIAL_STEP = 0xFFFFFFF0
"""SLURM numbers the steps of ``srun`` from 0; the batch script and interactive shells have numbers from here on."""
_RANK_VARIABLES = ("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")


def whole_number(name: str) -> int | None:
    """A number that a launcher (SLURM, torchrun) gives by the environment.

    Returns:
        The number, or None where the variable is not set.

    Raises:
        ValueError: If it is something else than a whole number, which Lightning could not use either.
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
    """Whether ``srun`` started this process as a task, as opposed to a command in a job's shell or batch script."""
    step = os.environ.get("SLURM_STEP_ID", os.environ.get("SLURM_STEPID", ""))
    in_step = step.isdecimal() and int(step) < _FIRST_SPECIAL_STEP
    by_hand = any(name.startswith("SLURM_PTY_") for name in os.environ)  # srun --pty is a shell for one person
    return in_step and not by_hand


def settle_slurm() -> None:
    """Make one process of a command that no ``srun`` started, whatever number of tasks its shell was given.

    Lightning takes the number of tasks for the number of processes, and would wait for the others without end, or stop
    with a traceback. Nothing changes for a single task, nor for tasks of ``srun``.

    Raises:
        ValueError: If ``srun`` started several tasks of a job that does not say how many there are on each node.
    """
    tasks = count_of_tasks()
    if tasks == 1:
        return
    if started_by_srun() and "SLURM_PROCID" in os.environ:
        if "SLURM_NTASKS_PER_NODE" not in os.environ:
            raise ValueError(
                f"srun started {tasks} tasks, but the job does not say how many run on each node: ask SLURM for "
                f"--nodes and --ntasks-per-node in place of --ntasks={tasks}, as in cluster/slurm.sbatch"
            )
        return
    for name in _RANK_VARIABLES:  # the processes that this one starts must not take them for their own
        os.environ.pop(name, None)
    sys.stderr.write(
        f"SLURM gave this shell {tasks} tasks, but srun did not start this command: it runs as one process. To use all "
        "tasks, begin with srun, as in cluster/slurm.sbatch.\n"
    )
