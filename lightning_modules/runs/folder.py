"""The folder of a run, ``<runs_dir>/<experiment>/<run id>``, the same for every rank and after a requeue."""

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_modules.runs.launcher_ids import launcher_id
from lightning_modules.runs.slurm import is_first_rank

RUN_ID_VARIABLE = "RUN_ID"
CHECKPOINT_FOLDER = "checkpoints"
"""Folder of a run's checkpoints inside the run's folder."""
_NAME = re.compile(r"\w[\w.-]*")
_LONGEST_NAME = 100  # two of them and a suffix are one W&B id and one folder's name


def check_name(name: object, what: str) -> str:
    """Make sure that a name is one part of a path, so that its files stay in the folder of all runs.

    Args:
        name: Name of an experiment, a run, a variant.
        what: Name of the setting, for the message.

    Returns:
        The name.

    Raises:
        ValueError: If it is empty, too long, or holds anything but letters, digits and ``_ . -``.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise ValueError(
            f"{what} is {name!r}, but it becomes a folder's name: 1 to {_LONGEST_NAME} letters, digits and _ . - are "
            "allowed, beginning with a letter, a digit or _"
        )
    return name


def paper_slug(class_path: str) -> str:
    """Slug of the paper whose module has a class path: its file or, for a paper of several files, its folder.

    >>> paper_slug("lightning_modules.gam_depth.GAMDepth")
    'gam_depth'
    >>> paper_slug("lightning_modules.boxinst_depth.module.BoxInstDepth")
    'boxinst_depth'
    """
    return [part for part in class_path.split(".")[:-1] if part != "module"][-1]


def run_id() -> str:
    """Id of this run, equal on all its ranks and after a requeue.

    Returns:
        ``RUN_ID`` if it is set, by the user or by the process that started this rank; else the id of the SLURM job or
        of torchrun (:func:`~lightning_modules.runs.launcher_ids.launcher_id`), so that the same command finds the same
        run again; else the time and four random digits.

    Raises:
        ValueError: If the id is no single part of a path.
    """
    environment = os.environ
    if RUN_ID_VARIABLE in environment:
        return check_name(environment[RUN_ID_VARIABLE], f"the environment variable {RUN_ID_VARIABLE}")
    found = launcher_id()
    if found is not None:
        return check_name(*found)
    return f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def place_run(config: Namespace, subcommand: str) -> Path:
    """Set the name of the experiment in a configuration and return the run's folder.

    Args:
        config: Resolved configuration of a subcommand; only ``experiment`` is changed, and only where it is not set, so
            that the configuration can be reused with another folder.
        subcommand: Appended to the run id unless it is ``fit``, so that it never writes into a training's folder.

    Returns:
        ``<runs_dir>/<experiment>/<run id>``, or the ``default_root_dir`` that the configuration names.

    Raises:
        ValueError: If the name of the experiment or the run is no single part of a path.
    """
    if config.experiment is None:
        files = config.get("config")
        stem = Path(str(files[0])).stem if files else ""
        # A file name may have characters that a run's folder or a W&B run cannot have.
        config.experiment = re.sub(r"[^\w.-]+", "_", stem).lstrip(".-") or "unnamed"
    check_name(config.experiment, "experiment")
    if config.trainer.default_root_dir is not None:
        return Path(config.trainer.default_root_dir)
    return Path(config.runs_dir) / config.experiment / (run_id() if subcommand == "fit" else f"{run_id()}-{subcommand}")


def wandb_id(experiment: str, run_dir: Path) -> str:
    """Id of the W&B run of a run's folder, the same whenever its command starts again."""
    return f"{experiment}-{run_dir.name}"


class RunFolder(Callback):
    """The folder of a run, which is removed again if the run is refused before its first batch.

    Create this object before anything is written to the folder.

    Args:
        path: The run's folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        self._used = False

    @property
    def kept(self) -> bool:
        """Whether the folder would be kept if the command ended now."""
        return self._used or self.path not in self._missing

    def leave(self) -> None:
        """Remove the folder if no batch was started; otherwise print where the last weights are.

        A folder that existed before is not changed.
        """
        last = self.path / CHECKPOINT_FOLDER / "last.ckpt"
        if not is_first_rank():
            return
        if self._used:
            if last.is_file():
                sys.stderr.write(f"The last good weights are in {last}.\n")
        elif not self.kept:
            shutil.rmtree(self.path, ignore_errors=True)
            for folder in self._missing[1:]:
                with contextlib.suppress(OSError):  # another run uses it by now
                    folder.rmdir()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Rename the checkpoint folder of an earlier training of this name, unless this training resumes from it."""
        folder = self.path / CHECKPOINT_FOLDER
        goes_on = trainer.ckpt_path is not None and Path(trainer.ckpt_path).resolve().is_relative_to(
            self.path.resolve()
        )
        if (
            goes_on
            or getattr(trainer, "fast_dev_run", False)
            or not trainer.is_global_zero
            or not any(folder.glob("*.ckpt"))
        ):
            return
        kept = set_aside(folder)
        sys.stderr.write(f"{self.path} holds an earlier training, whose checkpoints are now in {kept}.\n")

    def on_train_batch_start(self, *_: Any) -> None:
        """Note that the run has started."""
        self._used = True

    def on_validation_batch_start(self, *_: Any) -> None:
        """Note that the run has started."""
        self._used = True

    def on_test_batch_start(self, *_: Any) -> None:
        """Note that the run has started."""
        self._used = True

    def on_predict_batch_start(self, *_: Any) -> None:
        """Note that the run has started."""
        self._used = True


def git_commit() -> str:
    """Commit of the working tree with ``+dirty`` when tracked files differ, or ``unknown`` outside a checkout."""
    root = Path(__file__).parents[2]

    def git(*arguments: str) -> str:
        answer = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10)
        answer.check_returncode()
        return answer.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return commit + ("+dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def set_aside(path: Path) -> Path:
    """Rename a file or folder of an earlier attempt, so that a new one does not replace it.

    Args:
        path: The file or folder, e.g. ``metrics.csv``.

    Returns:
        Its new place, ``metrics.<n>.csv`` with the next free n, from 1.
    """
    n = 1
    while (kept := path.with_name(f"{path.stem}.{n}{path.suffix}")).exists():
        n += 1
    path.rename(kept)
    return kept


def keep_previous_metrics(run_dir: Path) -> None:
    """Rename the metrics file of an earlier attempt, which the CSV logger would delete.

    Args:
        run_dir: The run's folder.
    """
    if (run_dir / "metrics.csv").is_file():
        set_aside(run_dir / "metrics.csv")
