"""Checkpoints of a training as artifacts of W&B."""

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger

from lightning_modules.runs.loggers import attempt
from structures.errors import one_line

KIND = "model"
"""Type of the artifacts in W&B."""
_FOLDER = "artifacts"


class CheckpointArtifacts(Callback):
    """Logs the best and the last checkpoint at the end of a training, with the aliases ``best`` and ``last``.

    The artifact is named ``checkpoint-<W&B id of the run>``; each of its versions holds one file, ``best.ckpt`` or
    ``last.ckpt``. W&B gets a hard link to each checkpoint in its own folder of the run. It takes no space, and a later
    training does not change it, as checkpoints are replaced and never rewritten; where links are not possible, it is a
    copy. An offline run stores the artifacts in its folder, and ``wandb sync`` on the same machine uploads them. A
    failure is printed in one line and ends no training.
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the checkpoints."""
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        if not loggers:
            sys.stderr.write("note: --artifacts has no effect, as this run has no W&B logger\n")
        for logger in loggers:
            attempt(logger, lambda run: self._try(trainer, run))

    def _try(self, trainer: Trainer, run: Any) -> None:
        """Log the checkpoints; a failure does not end what else W&B gets, such as the test."""
        try:
            self._log(trainer, run)
        except Exception as error:  # W&B raises errors of many kinds
            sys.stderr.write(f"W&B could not take the checkpoints ({one_line(error)}); they are in the run's folder.\n")

    def _log(self, trainer: Trainer, run: Any) -> None:
        if getattr(run, "disabled", False):
            return
        for alias, path in checkpoints_of(trainer).items():
            kept = _linked(path, Path(run.dir).parent / _FOLDER, f"{alias}-step{trainer.global_step}.ckpt")
            metadata = {"step": trainer.global_step, "class": type(trainer.lightning_module).__name__}
            checkpoint = trainer.checkpoint_callback
            if alias == "best" and isinstance(checkpoint, ModelCheckpoint) and checkpoint.best_model_score is not None:
                metadata |= {str(checkpoint.monitor): float(checkpoint.best_model_score)}
            artifact = wandb.Artifact(f"checkpoint-{run.id}", type=KIND, metadata=metadata)
            artifact.add_file(str(kept), name=f"{alias}.ckpt", policy="immutable")  # W&B would copy it once more
            run.log_artifact(artifact, aliases=[alias])


def checkpoints_of(trainer: Trainer) -> dict[str, Path]:
    """The best and the last checkpoint of a training by their aliases, those that exist."""
    found: dict[str, Path] = {}
    for callback in trainer.checkpoint_callbacks:
        if not isinstance(callback, ModelCheckpoint):
            continue
        if callback.monitor is not None and callback.best_model_path:
            found.setdefault("best", Path(callback.best_model_path))
        elif callback.monitor is None and callback.dirpath is not None:
            found.setdefault("last", Path(callback.dirpath) / "last.ckpt")
    return {alias: path for alias, path in found.items() if path.is_file()}


def _linked(path: Path, folder: Path, name: str) -> Path:
    """A second name of a file that keeps its present content, as an absolute path."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder.absolute() / name
    with contextlib.suppress(FileNotFoundError):
        kept.unlink()
    try:
        os.link(path, kept)
    except OSError:  # e.g. a file system without links
        shutil.copyfile(path, kept)
    return kept
