"""The newest whole checkpoint of a run, from which it goes on."""

import contextlib
import re
import sys
from pathlib import Path

import torch

from lightning_modules.runs.folder import CHECKPOINT_FOLDER
from lightning_modules.runs.loading import CheckpointError
from lightning_modules.runs.sealed_file import is_whole
from lightning_modules.runs.slurm import is_first_rank

_REQUEUE_FILE = re.compile(r"hpc_ckpt_\d+\.ckpt")
"""Files that Lightning writes into a run's folder when SLURM announces the end of a job."""
_STATE_OF_TRAINING = {"global_step", "loops", "optimizer_states", "lr_schedulers"}
_UNREADABLE, _NOT_RESUMABLE = float("inf"), -1.0


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of a run with the most steps, among those whose files are whole.

    Considered are all checkpoints of the run and those that Lightning wrote for a requeued job (``hpc_ckpt_*``). For
    each damaged file that would have come first there is a line on stderr.

    Args:
        folder: The run's folder.

    Returns:
        The file; None if the run has no checkpoint yet.

    Raises:
        CheckpointError: If it has checkpoints, but all of them are damaged.
    """
    found = [path for path in (folder / CHECKPOINT_FOLDER).glob("*.ckpt") if path.is_file()]
    damaged: list[Path] = []
    # Of equal steps the last written comes first; so does a file whose step cannot be read, so that it is named.
    for step, _, path in sorted(map(_ranked, [*found, *requeue_files(folder)]), reverse=True):
        if step == _NOT_RESUMABLE:
            continue
        with contextlib.suppress(FileNotFoundError):  # removed by another process since
            if step != _UNREADABLE and is_whole(path):
                _report(damaged, path)
                return path
            damaged.append(path)
    if not damaged:
        return None
    names = ", ".join(path.name for path in damaged)
    raise CheckpointError(
        f"every checkpoint of {folder} is damaged ({names}), so the run cannot go on: begin it anew with another run "
        "id, or remove these files"
    )


def requeue_files(folder: Path) -> list[Path]:
    """Checkpoints of a requeued job in a run's folder."""
    return [path for path in folder.glob("hpc_ckpt_*.ckpt") if _REQUEUE_FILE.fullmatch(path.name) and path.is_file()]


def remove_older_requeue_files(folder: str | Path, used: str | Path, step: int) -> None:
    """Remove checkpoints of a requeued job that are not newer than the one from which the training goes on.

    Lightning prefers them to all others and never removes one.

    Args:
        folder: The run's folder.
        used: The checkpoint from which it goes on, which is kept.
        step: Its step.
    """
    for path in requeue_files(Path(folder)):
        with contextlib.suppress(OSError):
            older = stored_step(path) <= step
            if older and path.resolve() != Path(used).resolve():
                path.unlink()


def stored_step(path: Path) -> float:
    """Step of a checkpoint, without reading its weights.

    Returns:
        The step; infinity if the file cannot be read as a checkpoint, -1 if a training cannot go on from it.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return int(content["global_step"]) if content.keys() >= _STATE_OF_TRAINING else _NOT_RESUMABLE
    except FileNotFoundError:
        raise
    except Exception:  # torch's reader raises a dozen unrelated types on foreign bytes
        return _UNREADABLE


def _ranked(path: Path) -> tuple[float, float, Path]:
    try:
        return stored_step(path), path.stat().st_mtime, path
    except FileNotFoundError:
        return _NOT_RESUMABLE, 0.0, path


def _report(damaged: list[Path], used: Path) -> None:
    if damaged and is_first_rank():
        names = ", ".join(str(path) for path in damaged)
        sys.stderr.write(f"warning: {names} is damaged; the run goes on from {used}, step {stored_step(used):.0f}\n")
