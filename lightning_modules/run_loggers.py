"""The loggers of a run: a CSV file always, and W&B, grouped and tagged so that runs compare from the first day."""

import sys
from pathlib import Path

import wandb
from jsonargparse import Namespace
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from lightning_modules.run_folder import is_first_rank, keep_previous_metrics, wandb_mode


def run_loggers(config: Namespace, run_dir: Path, job_type: str) -> list[Logger]:
    """CSV and W&B loggers of a run.

    Args:
        config: Resolved configuration with ``experiment``, ``model``, ``data``, ``seed_everything`` and ``tags``.
        run_dir: The run's folder; a requeued run finds the same folder, hence the same W&B run.
        job_type: W&B job type, the subcommand.

    Returns:
        The CSV logger, and the W&B logger unless ``WANDB_MODE=disabled``.
    """
    if is_first_rank():
        keep_previous_metrics(run_dir)
    loggers: list[Logger] = [CSVLogger(run_dir, name="", version="")]
    mode = wandb_mode()
    if mode == "disabled":
        return loggers
    slug = config.model.class_path.split(".")[-2]
    data = [config.data.class_path.removeprefix("datamodules.").split(".")[0]] if config.get("data") else []
    run_dir.mkdir(parents=True, exist_ok=True)
    wandb_logger = WandbLogger(
        project="plumbline",
        name=f"{config.experiment}/{run_dir.name}",
        id=f"{config.experiment}-{run_dir.name}",
        save_dir=run_dir,
        offline=mode == "offline",
        group=slug,
        job_type=job_type,
        tags=[*data, config.experiment, f"seed={config.seed_everything}", *config.tags],
        resume="allow",
    )
    if mode == "offline" and is_first_rank():
        sys.stderr.write(f"W&B is offline; to upload this run later: wandb sync {run_dir}/wandb/offline-run-*\n")
    return [*loggers, wandb_logger]


def finish_wandb() -> None:
    """Close the W&B run, so that the next run of the same process does not continue it."""
    if wandb.run is not None:
        wandb.finish()
