"""The loggers of a run: a CSV file always, and W&B, grouped and tagged so that runs compare from the first day."""

import contextlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback, DeviceStatsMonitor, LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lightning_modules.runs.folder import is_first_rank, keep_previous_metrics, paper_slug
from lightning_modules.runs.wandb_access import wandb_mode, why_unreachable

INIT_TIMEOUT_S = 20.0
"""Longest time that the W&B server may take to begin a run; then the run goes on offline."""
FINISH_TIMEOUT_S = 120.0
"""Longest time that an ended run waits for its uploads; what is left stays on the disk, for ``wandb sync``."""


class PatientWandbLogger(WandbLogger):
    """A W&B logger that costs no run: where W&B fails, it says so in one line and goes on offline, or without.

    Args:
        run_dir: The run's folder, for the line that says how to upload what was kept.
        offline: Whether nothing is sent from the start.
        why_offline: Reason that the line about it gives, if any.
        arguments: What ``WandbLogger`` takes.
    """

    def __init__(self, run_dir: Path, *, offline: bool, why_offline: str | None = None, **arguments: Any) -> None:
        super().__init__(save_dir=run_dir, offline=offline, **arguments)
        self._run_dir = run_dir
        self._fails = False
        why = "" if why_offline is None else f" ({why_offline})"
        # Said with the first numbers: a run that is refused before them leaves nothing to upload.
        self._note = f"W&B is offline{why}. {_how_to_sync(run_dir)}" if offline else ""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, begun on first use: as it was asked for, else offline, else one that keeps nothing."""
        fallbacks = ["disabled"] if self._offline else ["offline", "disabled"]
        while self._experiment is None and fallbacks:
            try:
                return super().experiment
            except Exception as error:  # W&B has errors of many kinds, and none is worth a training
                reason = _one_line(error)
            with contextlib.suppress(Exception):
                wandb.teardown()  # else its service holds the run's id for in use
            mode = self._wandb_init["mode"] = fallbacks.pop(0)
            self._offline = True
            goes_on = f"it is offline. {_how_to_sync(self._run_dir)}"
            left_out = "it is left out, metrics.csv has the numbers.\n"
            sys.stderr.write(f"W&B could not begin its run ({reason}); {goes_on if mode == 'offline' else left_out}")
        return super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics, until W&B fails."""
        if self._note:
            sys.stderr.write(self._note)
            self._note = ""
        if self._fails:
            return
        try:
            super().log_metrics(metrics, step)
        except Exception as error:  # its process was killed, its disk is full: the training goes on
            self._fails = True
            sys.stderr.write(f"W&B failed ({_one_line(error)}); it is left out from here on.\n")


def without_logger(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return the callbacks that work in a run without a logger; one line on stderr names those that are left out."""
    log_only = [callback for callback in callbacks if isinstance(callback, LearningRateMonitor | DeviceStatsMonitor)]
    if log_only and is_first_rank():
        names = " and ".join(dict.fromkeys(type(callback).__name__ for callback in log_only))
        sys.stderr.write(f"note: the run has no logger (trainer.logger is false), so {names} is left out\n")
    return [callback for callback in callbacks if callback not in log_only]


def run_loggers(config: Namespace, run_dir: Path, job_type: str) -> list[Logger]:
    """CSV and W&B loggers of a run.

    Args:
        config: Resolved configuration with ``experiment``, ``model``, ``data``, ``seed_everything`` and ``tags``.
        run_dir: The run's folder; a requeued run finds the same folder, hence the same W&B run.
        job_type: W&B job type, the subcommand.

    Returns:
        The CSV logger, and the W&B logger unless ``WANDB_MODE=disabled``. W&B is offline where its server does not
        answer within two seconds.

    Raises:
        ValueError: If ``WANDB_MODE`` or ``WANDB_API_KEY`` cannot be what it is.
    """
    mode = wandb_mode()
    if is_first_rank():
        keep_previous_metrics(run_dir)
    loggers: list[Logger] = [CSVLogger(run_dir, name="", version="")]
    if mode == "disabled":
        return loggers
    why_offline = why_unreachable() if mode == "online" and is_first_rank() else None
    if why_offline is not None:
        mode = "offline"
    slug = paper_slug(config.model.class_path)
    data = [config.data.class_path.removeprefix("datamodules.").split(".")[0]] if config.get("data") else []
    run_dir.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(init_timeout=INIT_TIMEOUT_S)
    if "WANDB_FINISH_TIMEOUT" not in os.environ:
        settings.finish_timeout = FINISH_TIMEOUT_S
    wandb_logger = PatientWandbLogger(
        run_dir,
        offline=mode == "offline",
        why_offline=why_offline,
        project="plumbline",
        name=f"{config.experiment}/{run_dir.name}",
        id=f"{config.experiment}-{run_dir.name}",
        group=slug,
        job_type=job_type,
        tags=[*data, config.experiment, f"seed={config.seed_everything}", *config.tags],
        resume="allow",
        settings=settings,
        # Said here and not by WANDB_MODE alone: W&B may have read its environment already.
        mode="offline" if mode == "offline" else None,
    )
    return [*loggers, wandb_logger]


def finish_wandb(kept: bool = True) -> None:
    """Close the W&B run, so that the next run of the same process does not continue it.

    A failure is said and forgotten: what the command did, it did.

    Args:
        kept: Whether the run's folder stays. If not, W&B's own advice to upload it is not printed.
    """
    if wandb.run is None:
        return
    try:
        with contextlib.nullcontext() if kept else contextlib.redirect_stderr(io.StringIO()):
            wandb.finish()
    except Exception as error:  # see PatientWandbLogger
        sys.stderr.write(f"W&B could not finish its run ({_one_line(error)}); its data are on the disk.\n")


def _one_line(error: Exception) -> str:
    """What an error says, in one line without a full stop at its end."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _how_to_sync(run_dir: Path) -> str:
    return f"To upload this run later: wandb sync {run_dir}/wandb/offline-run-*\n"
