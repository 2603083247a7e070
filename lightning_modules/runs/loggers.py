"""The loggers of a run: always a CSV file, and W&B with a group and tags by which runs are compared."""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import wandb
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback, DeviceStatsMonitor, LearningRateMonitor
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lightning_modules.runs.folder import keep_previous_metrics, paper_slug, wandb_id
from lightning_modules.runs.metrics_file import StepCSVLogger, cut_metrics, row_step
from lightning_modules.runs.slurm import is_first_rank
from lightning_modules.runs.wandb_access import wandb_mode, why_unreachable
from lightning_modules.runs.wandb_history import history, offline_folders, set_aside, was_online
from structures.errors import one_line

INIT_TIMEOUT_S = 20.0
"""Longest time to wait for the W&B server when a run begins; after it the run is logged offline."""
PROJECT = "plumbline"
"""W&B project of runs where ``WANDB_PROJECT`` names no other."""
_STEP_AXIS = "trainer/global_step"
"""Lightning's name of the x-axis."""
FINISH_TIMEOUT_S = 120.0
"""Longest time that a finished run waits for its uploads; the rest stays on the disk, for ``wandb sync``."""

_unfinished: Any = None
"""The W&B run that could not be finished; it is not tried again."""


class FailSafeWandbLogger(WandbLogger):
    """A W&B logger whose failures do not stop a run: it prints one line and continues offline, or without W&B.

    A training that was interrupted continues its curves, with each step once. The steps of W&B's history are those of
    the training; what W&B does not have of the steps before the checkpoint is added from ``metrics.csv``, and steps
    that W&B has already are not logged a second time when they are trained again. W&B makes a new folder for every
    attempt of an offline run. The last one gets the whole history, and the earlier ones are renamed, so that
    ``wandb sync`` uploads one folder.

    Args:
        run_dir: The run's folder, for the line about how to upload the offline run.
        offline: Whether the run is offline from the start.
        why_offline: Reason for that, printed if given.
        trains: Whether this is a training; other commands log every time they are called.
        arguments: Further arguments of ``WandbLogger``.
    """

    def __init__(
        self, run_dir: Path, *, offline: bool, why_offline: str | None = None, trains: bool = True, **arguments: Any
    ) -> None:
        # W&B's service stays in the working directory in which it began.
        super().__init__(save_dir=run_dir.absolute(), offline=offline, **arguments)
        self._run_dir = run_dir
        self._trains = trains
        self._fails = False
        self._first_step = 0  # the first one that W&B does not have
        self._last_step: int | None = None
        why = "" if why_offline is None else f" ({why_offline})"
        # Printed with the first metrics: a run that is refused before them leaves nothing to upload.
        self._note = f"W&B is offline{why}. {_how_to_sync(run_dir)}" if offline else ""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, started on first use: in the requested mode, else offline, else disabled."""
        fallbacks = ["disabled"] if self._offline else ["offline", "disabled"]
        earlier = offline_folders(self._run_dir) if self._experiment is None else []
        while self._experiment is None and fallbacks:
            try:
                run = super().experiment
                self._continue_history(run, earlier)
                return run
            except Exception as error:  # W&B raises errors of many kinds, and none may stop a training
                reason = one_line(error)
            with contextlib.suppress(Exception):
                wandb.teardown()  # otherwise its service keeps the run's id reserved
            mode = self._wandb_init["mode"] = fallbacks.pop(0)
            self._offline = True
            goes_on = f"it is offline. {_how_to_sync(self._run_dir)}"
            left_out = "it is left out, metrics.csv has the numbers.\n"
            sys.stderr.write(f"W&B could not begin its run ({reason}); {goes_on if mode == 'offline' else left_out}")
        return super().experiment

    def _continue_history(self, run: Any, earlier: list[Path]) -> None:
        """Add the steps of earlier attempts that W&B does not have.

        Args:
            run: The W&B run, which has just begun.
            earlier: Folders of earlier offline attempts.
        """
        self._first_step = int(getattr(run, "starting_step", 0) or 0)  # known to the server, 0 offline
        if self._trains and not (self._offline and was_online(self._run_dir)):
            for step, row in history(self._run_dir, self._first_step):
                self._last_step = step
                run.log(row | {_STEP_AXIS: step}, step=step)
        set_aside(earlier)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics; after a failure of W&B do nothing."""
        if self._note:
            sys.stderr.write(self._note)
            self._note = ""
        self.attempt(lambda run: self._log(run, metrics, step))

    def _log(self, run: Any, metrics: Mapping[str, float], step: int | None) -> None:
        number = row_step(metrics, (self._last_step or 0) if step is None else step, self._last_step)
        self._last_step = number
        if not self._trains:
            run.log(dict(metrics) | {_STEP_AXIS: number}, step=self._first_step + number)
        elif number >= self._first_step:
            run.log(dict(metrics) | {_STEP_AXIS: number}, step=number)

    def attempt(self, action: Callable[[Any], object]) -> None:
        """Do something with the W&B run; print its failure, and do nothing after one.

        Args:
            action: What to do; it gets the W&B run.
        """
        if self._fails:
            return
        try:
            action(self.experiment)
        except Exception as error:  # e.g. its process was killed or the disk is full
            self._fails = True
            sys.stderr.write(f"W&B failed ({one_line(error)}); it is left out from here on.\n")

    @rank_zero_only
    def log_image(self, key: str, images: list[Any], step: int | None = None, **arguments: Any) -> None:
        """Log pictures; after a failure of W&B do nothing."""
        self.attempt(lambda _: super(FailSafeWandbLogger, self).log_image(key, images, step, **arguments))

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Log settings; after a failure of W&B do nothing."""
        self.attempt(lambda _: super(FailSafeWandbLogger, self).log_hyperparams(params))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the log of a training; after a failure of W&B do nothing."""
        if self._experiment is not None:  # it begins no run
            self.attempt(lambda _: super(FailSafeWandbLogger, self).finalize(status))


def attempt(logger: WandbLogger, action: Callable[[Any], object]) -> None:
    """Do something with a logger's W&B run; a failure stops no run of :class:`FailSafeWandbLogger`.

    Args:
        logger: Any W&B logger.
        action: What to do; it gets the W&B run.
    """
    if isinstance(logger, FailSafeWandbLogger):
        logger.attempt(action)
    else:
        action(logger.experiment)


def picture_loggers(loggers: Sequence[Logger]) -> list[WandbLogger]:
    """The W&B loggers for which pictures are drawn: not a disabled run, which would write temporary files.

    Args:
        loggers: Those of a trainer.
    """
    found: list[WandbLogger] = []

    def look(logger: WandbLogger, run: Any) -> None:
        if not getattr(run, "disabled", False):
            found.append(logger)

    for logger in loggers:
        if isinstance(logger, WandbLogger):
            attempt(logger, partial(look, logger))
    return found


def without_logger(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return the callbacks that work in a run without a logger; one line on stderr names those that are left out."""
    log_only = [callback for callback in callbacks if isinstance(callback, LearningRateMonitor | DeviceStatsMonitor)]
    if log_only and is_first_rank():
        names = " and ".join(dict.fromkeys(type(callback).__name__ for callback in log_only))
        sys.stderr.write(f"note: the run has no logger (trainer.logger is false), so {names} is left out\n")
    return [callback for callback in callbacks if callback not in log_only]


def run_loggers(config: Namespace, run_dir: Path, job_type: str, resumed_step: int | None = None) -> list[Logger]:
    """CSV and W&B loggers of a run.

    Args:
        config: Resolved configuration with ``experiment``, ``model``, ``data``, ``seed_everything`` and ``tags``.
        run_dir: The run's folder; a requeued run finds the same folder, hence the same W&B run.
        job_type: W&B job type, the subcommand.
        resumed_step: Step from which this run goes on; None if it begins. Metrics of later steps are removed, as they
            are trained again; metrics of a run that begins anew are renamed.

    Returns:
        The CSV logger, and the W&B logger unless ``WANDB_MODE=disabled``. W&B is offline where its server does not
        answer within two seconds.

    Raises:
        ValueError: If ``WANDB_MODE`` or ``WANDB_API_KEY`` is not valid.
    """
    mode = wandb_mode()
    if is_first_rank():
        if resumed_step is None:
            keep_previous_metrics(run_dir)
        else:
            cut_metrics(run_dir / "metrics.csv", resumed_step)
    loggers: list[Logger] = [StepCSVLogger(run_dir)]
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
    wandb_logger = FailSafeWandbLogger(
        run_dir,
        offline=mode == "offline",
        why_offline=why_offline,
        trains=job_type == "fit",
        project=os.environ.get("WANDB_PROJECT") or PROJECT,
        name=f"{config.experiment}/{run_dir.name}",
        id=wandb_id(config.experiment, run_dir),
        group=slug,
        job_type=job_type,
        tags=[*data, config.experiment, f"seed={config.seed_everything}", *config.tags],
        resume="allow",
        settings=settings,
        # Set here, too: W&B may have read WANDB_MODE already.
        mode="offline" if mode == "offline" else None,
    )
    return [*loggers, wandb_logger]


def finish_wandb(kept: bool = True) -> None:
    """Close the W&B run, so that the next run of the same process does not continue it.

    A failure is printed and ignored: the command itself has succeeded.

    Args:
        kept: Whether the run's folder stays. If not, W&B's own advice to upload it is not printed.
    """
    global _unfinished
    run = wandb.run
    if run is None or run is _unfinished:
        return
    try:
        with contextlib.nullcontext() if kept else contextlib.redirect_stderr(io.StringIO()):
            wandb.finish()
    except Exception as error:  # see FailSafeWandbLogger
        _unfinished = run  # it stays W&B's current run
        sys.stderr.write(f"W&B could not finish its run ({one_line(error)}); its data are on the disk.\n")
        with contextlib.suppress(Exception):
            wandb.teardown()  # otherwise it tries again at the exit of Python, with a traceback


def _how_to_sync(run_dir: Path) -> str:
    return f"To upload this run later: wandb sync {run_dir}/wandb/offline-run-*\n"
