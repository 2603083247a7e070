"""Validation and test of a paper: Lightning's six hooks, written once for all tasks."""

from abc import abstractmethod
from typing import Any, Literal

from torch import Tensor

from lightning_modules.tasks.base import PaperModule
from lightning_modules.tasks.size_errors import explain_size_errors

Stage = Literal["val", "test"]
STAGES: tuple[Stage, ...] = ("val", "test")


class EvaluatedModule(PaperModule):
    """Base of papers that are validated and tested by metrics over a whole split.

    A task implements ``update_metrics``, ``stage_metrics`` and ``reset_metrics``. One of its metrics is ``score``, of
    which lower is better: the best checkpoint is the one with the lowest ``val/score``. Metrics reduce themselves over
    all ranks when they are computed, so every rank logs the same values.
    """

    @abstractmethod
    def update_metrics(self, stage: Stage, batch: Any) -> None:
        """Predict a batch and add it to the metrics of a stage."""

    @abstractmethod
    def stage_metrics(self, stage: Stage) -> dict[str, Tensor]:
        """Metrics of a finished validation or test by name, scalars, ``score`` among them."""

    @abstractmethod
    def reset_metrics(self, stage: Stage) -> None:
        """Clear the metrics of a stage."""

    def check_evaluated(self, stage: Stage, batch: Any) -> None:
        """Count or refuse the ground truth of a batch before the batch is predicted; by default nothing is done."""

    def logged_metrics(self, stage: Stage) -> dict[str, Tensor]:
        """Metrics that are logged at the end of a stage; by default all of :meth:`stage_metrics`."""
        return self.stage_metrics(stage)

    def in_progress_bar(self, name: str) -> bool:
        """Whether the progress bar shows a metric."""
        return name == "score"

    @property
    def unscored(self) -> str | None:
        """The reason why the last stage has no score although there is ground truth; None if it has one."""
        return None

    def _evaluate(self, stage: Stage, batch: Any) -> None:
        self.check_evaluated(stage, batch)
        with explain_size_errors(batch):
            self.update_metrics(stage, batch)

    def _log_stage(self, stage: Stage) -> None:
        for name, value in self.logged_metrics(stage).items():
            self.log(f"{stage}/{name}", value, prog_bar=self.in_progress_bar(name))
        self.reset_metrics(stage)

    def on_validation_epoch_start(self) -> None:
        """Clear what a sanity check or an interrupted epoch has counted."""
        self.reset_metrics("val")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Update the validation metrics."""
        self._evaluate("val", batch)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        self._log_stage("val")

    def on_test_epoch_start(self) -> None:
        """Clear what an interrupted test has counted."""
        self.reset_metrics("test")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Update the test metrics."""
        self._evaluate("test", batch)

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._log_stage("test")
