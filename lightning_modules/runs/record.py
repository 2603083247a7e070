"""Record of a run: resolved configuration, commit, what the checkpoint holds, and the results at the end."""

import json
import os
import platform
import resource
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger
from rich.console import Console
from rich.table import Table

from lightning_modules.runs.class_names import class_table
from lightning_modules.runs.dashboard_fields import dashboard_fields
from lightning_modules.runs.folder import git_commit, wandb_id
from lightning_modules.runs.loading import RECIPE_KEY
from lightning_modules.runs.loggers import attempt
from lightning_modules.runs.same_run import plain_settings
from lightning_modules.runs.summary import FILE_NAME, write_summary
from lightning_modules.runs.trained_data import DATA_KEY, settings_of_data
from lightning_modules.tasks.depth import DepthModule


class RunRecord(SaveConfigCallback):
    """Writes ``config.yaml``, ``run.json`` and ``summary.png`` of a run, and prints results and paths at the end.

    A checkpoint gets the entry ``plumbline`` with the class path and the plain arguments of its module, so that it can
    be loaded without its configuration (``lightning_modules/runs/loading.py``), the names of its classes, if any, and,
    for depth, the settings of the data that a test or prediction needs (``lightning_modules/runs/trained_data.py``).

    Args:
        parser: The parser of the subcommand.
        config: The resolved configuration.
        overwrite: Set by the command line class; a requeued run writes its configuration again.
    """

    def __init__(self, parser: Any, config: Any, overwrite: bool = True) -> None:
        super().__init__(parser, config, overwrite=overwrite, save_to_log_dir=False)
        self.plain_config = plain_settings(parser, config)
        self._earlier_s = 0.0
        self._started_s = time.monotonic()
        self._finished = False
        self._summary_due = False
        self.record: dict[str, Any] = {}

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write ``config.yaml`` and the first ``run.json``; called once, on rank zero, by the base class."""
        run_dir = Path(trainer.default_root_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        _write_whole(run_dir / "config.yaml", yaml.safe_dump(self.plain_config, sort_keys=False))
        self.record = {
            "run": run_dir.name,
            "wandb_id": wandb_id(str(self.plain_config.get("experiment")), run_dir),
            "experiment": self.plain_config.get("experiment"),
            "command": " ".join(sys.argv),
            "commit": git_commit(),
            "data_version": getattr(getattr(trainer, "datamodule", None), "data_version", None),
            "seed": self.plain_config.get("seed_everything"),
            "parameters": sum(p.numel() for p in pl_module.parameters()),
            "callbacks": [type(callback).__name__ for callback in trainer.callbacks],  # type: ignore[attr-defined]
            "world_size": trainer.world_size,
            "device": str(trainer.strategy.root_device),
            "cpu_threads": torch.get_num_threads(),
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        self._write(run_dir)
        # The whole configuration, so that runs can be filtered and compared by any setting.
        settings = {**self.plain_config, **dashboard_fields(self.record)}
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                attempt(logger, lambda run: run.config.update(settings, allow_val_change=True))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the training, which does not count the preparation of data."""
        self._started_s = time.monotonic()

    def state_dict(self) -> dict[str, float]:
        """Seconds trained so far, over all attempts of a run that was interrupted."""
        return {"seconds": self._earlier_s + time.monotonic() - self._started_s}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Restore the seconds of the earlier attempts."""
        self._earlier_s = state_dict["seconds"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the class path and arguments of the module to the checkpoint."""
        model = self.plain_config["model"]
        checkpoint[RECIPE_KEY] = {
            "class_path": model["class_path"],
            "model": model.get("init_args", {}),
            "experiment": self.plain_config.get("experiment"),
            "commit": self.record.get("commit", "unknown"),
            **class_table(getattr(trainer, "datamodule", None), pl_module),
        }
        if isinstance(pl_module, DepthModule):
            checkpoint[RECIPE_KEY][DATA_KEY] = settings_of_data(trainer.datamodule)  # type: ignore[attr-defined]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the time, the best and the last values of the training."""
        if not trainer.is_global_zero:
            return
        self.record["fit_minutes"] = round(self.state_dict()["seconds"] / 60, 2)
        self.record["steps"] = trainer.global_step
        if _has_ended(trainer):
            self.record["ended_at_step"] = trainer.global_step
        self.record["last"] = {k: float(v) for k, v in trainer.callback_metrics.items()}
        checkpoint = trainer.checkpoint_callback
        if isinstance(checkpoint, ModelCheckpoint) and checkpoint.best_model_score is not None:
            self.record["best"] = {str(checkpoint.monitor): float(checkpoint.best_model_score)}
            self.record["checkpoint"] = checkpoint.best_model_path
        self._write(Path(trainer.default_root_dir))
        self._summary_due = True

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep and show the test metrics."""
        self._finish(trainer, "test")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record and print the metrics of the command ``validate``."""
        if trainer.state.fn == "validate":
            self._finish(trainer, "val")

    def _finish(self, trainer: Trainer, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        run_dir = Path(trainer.default_root_dir)
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(f"{stage}/")}
        self.record[stage] = metrics
        self.record["peak_memory_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
        if torch.cuda.is_available():
            self.record["peak_gpu_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        self._write(run_dir)
        table = Table(title=f"{self.record['experiment']}: {stage}")
        table.add_column("metric")
        table.add_column("value", justify="right")
        for name, value in metrics.items():
            table.add_row(name.removeprefix(f"{stage}/"), f"{value:.4f}")
        Console().print(table)
        self._finished = self._summary_due = True

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Draw the summary and print where everything is, after all other callbacks have written."""
        if self._summary_due and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            write_summary(trainer, self.record)
        self._summary_due = False
        if not self._finished:
            return
        self._finished = False
        run_dir = Path(trainer.default_root_dir)
        console = Console()
        for label, path in (
            ("checkpoint", self.record.get("checkpoint")),
            ("summary", run_dir / FILE_NAME),
            ("pictures", run_dir / "pictures"),
            ("metrics", run_dir / "metrics.csv"),
            ("configuration", run_dir / "config.yaml"),
        ):
            if path is not None and Path(path).exists():
                # Not wrapped, so that a path can be copied from a narrow terminal.
                console.print(f"{label:>13}: {os.path.relpath(path)}", soft_wrap=True, highlight=False)
        if "fit_minutes" in self.record:
            console.print(f"{'compare':>13}: {report_command(run_dir)}", soft_wrap=True, highlight=False)

    def _write(self, run_dir: Path) -> None:
        _write_whole(run_dir / "run.json", json.dumps(self.record, indent=2, sort_keys=True))


def _has_ended(trainer: Trainer) -> bool:
    """Whether a training has reached its length or was stopped early by its score or its time."""
    max_epochs = trainer.max_epochs
    if 0 < trainer.max_steps <= trainer.global_step or (
        max_epochs is not None and 0 < max_epochs <= trainer.current_epoch
    ):
        return True
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EarlyStopping) and callback.stopped_epoch > 0:
            return True
        left = callback.time_remaining() if isinstance(callback, Timer) else None
        if left is not None and left <= 0:
            return True
    return False


def report_command(run_dir: Path) -> str:
    """The command that compares a run with all others of its folder of runs.

    >>> report_command(Path("runs/lite_unet/long"))
    'make report'
    """
    runs_dir = os.path.relpath(run_dir.parent.parent)
    # Quoted twice, as make passes it to a shell of its own.
    return "make report" if runs_dir == "runs" else f"make report RUNS={shlex.quote(shlex.quote(runs_dir))}"


def _write_whole(path: Path, text: str) -> None:
    """Write a file atomically: under a temporary name, then renamed."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)
