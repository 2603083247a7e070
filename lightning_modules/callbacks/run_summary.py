"""The summary of a W&B run: validation metrics of the best step, size, time and memory."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger

from lightning_modules.runs.loggers import attempt

_FROM_RECORD = ("parameters", "steps", "fit_minutes", "peak_memory_gb", "peak_gpu_memory_gb")
BEST_STEP = "best/step"


class RunSummary(Callback):
    """Adds ``best/val/<metric>``, ``best/step``, ``last/<name>`` and numbers of ``run.json`` to the summary of W&B.

    The best step is that of the monitored checkpoint: the lowest ``val/score``. All validation metrics of that step are
    kept, so that a table shows one checkpoint, not the best value of each column. The last values are those of
    ``run.json``. A training that goes on from a checkpoint goes on with its best step.
    """

    def __init__(self) -> None:
        self._score: float | None = None
        self._best: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """The best score so far and the metrics of its step."""
        return {"score": self._score, "best": dict(self._best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._score, self._best = state_dict["score"], dict(state_dict["best"])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metrics of a validation whose score is the best so far."""
        checkpoint = trainer.checkpoint_callback
        if trainer.state.fn != "fit" or trainer.sanity_checking or not isinstance(checkpoint, ModelCheckpoint):
            return
        score = float(trainer.callback_metrics.get(str(checkpoint.monitor), math.nan))
        if math.isnan(score):
            return
        sign = -1 if checkpoint.mode == "max" else 1
        if self._score is None or sign * score < sign * self._score:
            self._score = score
            values = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
            self._best = {f"best/{name}": value for name, value in values.items()} | {BEST_STEP: trainer.global_step}

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the summary, after the record of the run has been written."""
        loggers = [each for each in trainer.loggers if isinstance(each, WandbLogger)]
        if not loggers or not trainer.is_global_zero:
            return
        record: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            record = json.loads((Path(trainer.default_root_dir) / "run.json").read_text())
        values = {name: record[name] for name in _FROM_RECORD if name in record}
        values |= {f"{kind}/{name}": value for kind in ("best", "last") for name, value in record.get(kind, {}).items()}
        values |= self._best
        for logger in loggers:
            attempt(logger, lambda run: run.summary.update(values))
