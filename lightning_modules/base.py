"""What every paper shares: weighted loss terms, optimizer wiring, and, for depth, validation, test and prediction.

A paper subclasses :class:`DepthModule` and adds ``forward`` and ``loss_terms``; nothing else is asked of it.
"""

import logging
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics import SumMetric

from lightning_modules.batch_needs import DEPTH, Loop, Need, validation_measured
from lightning_modules.checked import CheckedModule
from lightning_modules.flip_postprocessing import Quantity, blended_with_mirror_image
from lightning_modules.schedules import WarmupCosine
from lightning_modules.size_errors import explained
from lightning_modules.truth_check import TruthCheck
from metrics.depth import DepthMetrics
from structures.batch import DepthBatch

logger = logging.getLogger(__name__)


class NonFiniteLossError(RuntimeError):
    """A loss term, or its gradient, is NaN or infinite; ``term`` names it and ``batch_path`` holds the batch."""

    def __init__(self, term: str, value: float, step: int, batch_path: Path, what: str = "loss term") -> None:
        super().__init__(f"{what} '{term}' is {value} at step {step}; its batch is in {batch_path}")
        self.term = term
        self.batch_path = batch_path


class PaperModule(CheckedModule):
    """Base of every paper: checks, sums and logs the loss terms and builds the optimizer.

    Args:
        loss_weights: Weight of each loss term; ``loss_terms`` must return exactly these keys.
        optimizer: Takes the parameters, returns the optimizer (in YAML a class path with its arguments).
        lr_scheduler: Takes the optimizer, returns a scheduler, or None for a constant rate.
        lr_scheduler_interval: Whether the scheduler counts steps or epochs.
        lr_monitor: Metric watched by a ``ReduceLROnPlateau`` scheduler.

    Raises:
        ValueError: If no loss weight is given, one is not a finite number >= 0, or all are 0.
    """

    def __init__(
        self,
        loss_weights: Mapping[str, float],
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["step", "epoch"] = "step",
        lr_monitor: str = "val/score",
    ) -> None:
        super().__init__()
        if not loss_weights:
            raise ValueError("loss_weights is empty: name at least one loss term with its weight")
        for name, weight in loss_weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"the weight of loss term '{name}' is {weight}, but must be a finite number >= 0")
        if not any(loss_weights.values()):
            raise ValueError(
                f"the weights of all loss terms ({', '.join(loss_weights)}) are 0: nothing would be trained"
            )
        self.loss_weights = dict(loss_weights)
        self._make_optimizer = optimizer
        self._make_lr_scheduler = lr_scheduler
        self._lr_scheduler_interval = lr_scheduler_interval
        self._lr_monitor = lr_monitor
        # Under the command line the hyper-parameters are the plain configuration, so that a checkpoint loads with
        # weights_only=True; a module built by hand holds live objects, which do not belong into a checkpoint.
        if _given_hyperparameters.get() is not None:
            self.save_hyperparameters()

    @abstractmethod
    def loss_terms(self, batch: Any) -> dict[str, Tensor]:
        """Unweighted scalar loss terms of a batch, keyed like ``loss_weights``."""

    def weighted(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Loss terms times their weights, float32; a paper whose weights change in training extends this."""
        return {name: self.loss_weights[name] * term.float() for name, term in terms.items()}

    def progress(self) -> float:
        """Part of the training that is done, 0 to 1, as a function of ``global_step`` alone; 0 outside a training.

        Raises:
            ValueError: If the training has no end that schedules could run to.
        """
        # Outside, the trainer would make the training data to count their batches.
        if self._trainer is None or self.trainer.state.fn != TrainerFn.FITTING:
            return 0.0
        steps = float(self.trainer.estimated_stepping_batches)
        if math.isinf(steps):
            raise ValueError("the schedules need the length of the training: set trainer.max_steps or max_epochs")
        return min(self.global_step / max(steps, 1.0), 1.0)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Weighted sum of the loss terms.

        Raises:
            KeyError: If ``loss_terms`` and ``loss_weights`` do not have the same keys.
            ValueError: If the batch or its images are too small for the network, or do not divide by its strides.
        """
        with explained(batch):
            terms = self.loss_terms(batch)
        if terms.keys() != self.loss_weights.keys():
            raise KeyError(
                f"loss_terms returned {sorted(terms)}, but weights are given for {sorted(self.loss_weights)}"
            )
        loss = torch.stack(list(self.weighted(terms).values())).sum()
        batch_size = len(batch["image"])
        self.log_dict({f"train/{name}": term.detach() for name, term in terms.items()}, batch_size=batch_size)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=batch_size)
        # Kept for the callback that stops on a non-finite loss: it can then name the term.
        self.last_terms = {name: term.detach() for name, term in terms.items()}
        return loss

    def setup(self, stage: str) -> None:
        """Keep 4-D weights channels-last: the same numbers, and a faster step (`make bench`)."""
        self.to(memory_format=torch.channels_last)

    def configure_optimizers(self) -> Any:
        """Optimizer over all trainable parameters and, if given, its scheduler."""
        optimizer = self._make_optimizer([p for p in self.parameters() if p.requires_grad])
        if self._make_lr_scheduler is None:
            return optimizer
        scheduler = self._make_lr_scheduler(optimizer)
        if isinstance(scheduler, WarmupCosine) and scheduler.total_steps is None:
            scheduler.set_total_steps(int(self.trainer.estimated_stepping_batches))
        wiring = {"scheduler": scheduler, "interval": self._lr_scheduler_interval, "monitor": self._lr_monitor}
        return {"optimizer": optimizer, "lr_scheduler": wiring}


class DepthModule(PaperModule):
    """Base of papers that predict depth: metrics on validation and test, depth in metres on predict.

    ``val/score`` is AbsRel under the module's own protocol, lower is better: checkpoints are chosen by it. Where a
    whole split has no measured depth, what needs it is left out of the table, and one line says so; a training whose
    checkpoints could then not be chosen is refused before its first step.

    Args:
        loss_weights: See :class:`PaperModule`.
        optimizer: See :class:`PaperModule`.
        lr_scheduler: See :class:`PaperModule`.
        lr_scheduler_interval: See :class:`PaperModule`.
        lr_monitor: See :class:`PaperModule`.
        alignment: How predictions are aligned with the truth of each image before metrics are taken.
        min_depth_m: Truth nearer than this is ignored and predictions are clamped to it, metres.
        max_depth_m: Truth beyond this is ignored and predictions are clamped to it, metres.
        crop: Evaluated window as fractions ``(top, bottom, left, right)`` of height and width, or None for all.
        average: Whether metrics are means over images or over pixels (their names end in ``_img`` or ``_px``).
    """

    def __init__(
        self,
        loss_weights: Mapping[str, float],
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["step", "epoch"] = "step",
        lr_monitor: str = "val/score",
        alignment: Literal["none", "median", "least_squares"] = "none",
        min_depth_m: float = 1e-3,
        max_depth_m: float = 10.0,
        crop: tuple[float, float, float, float] | None = None,
        average: Literal["image", "pixel"] = "image",
    ) -> None:
        super().__init__(loss_weights, optimizer, lr_scheduler, lr_scheduler_interval, lr_monitor)
        self.depth_metrics = torch.nn.ModuleDict(
            {
                stage: DepthMetrics(
                    alignment=alignment,
                    min_depth_m=min_depth_m,
                    max_depth_m=max_depth_m,
                    crop=crop,
                    average=average,
                )
                for stage in ("val", "test")
            }
        )
        self.measured_images = torch.nn.ModuleDict({stage: SumMetric() for stage in ("val", "test")})
        self._said_no_truth: set[str] = set()
        self.flip_postprocessing = False
        self.truth_check = TruthCheck({stage: self._metrics(stage).protocol for stage in ("val", "test")})

    flip_quantity: ClassVar[Quantity] = "depth"
    """What flip post-processing blends."""
    scores_without_truth: ClassVar[bool] = False
    """Whether ``val/score`` is another number where a split has no measured depth."""

    def on_fit_start(self) -> None:
        """Refuse validation data of which none has depth, if checkpoints are chosen by the errors of depth.

        Raises:
            ValueError: If not one validation image has a measured pixel.
        """
        super().on_fit_start()
        data = getattr(self.trainer, "datamodule", None)
        if self.scores_without_truth or data is None or self.trainer.limit_val_batches == 0:
            return
        if not validation_measured(data):
            raise ValueError(
                f"{self.paper} chooses checkpoints by the errors of depth (val/score), but no validation image of "
                f"{self.data_name} has any measured depth: hold out images that have (data.init_args.val of a video of "
                "your own), train a paper that needs none (gam_depth, monodepth2, sc_depth), or validate not at all "
                "(--trainer.limit_val_batches 0) and take the last weights"
            )

    def needs(self, loop: Loop) -> tuple[Need, ...]:
        """Images, and depth to be compared with in validation and test."""
        return (*super().needs(loop), DEPTH) if loop in ("val", "test") else super().needs(loop)

    @property
    def scale_known(self) -> bool:
        """Whether depth is in metres, rather than up to a factor that nothing tells."""
        return True

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Depth of an image.

        Args:
            image: float32 ``(B, 3, H, W)``, RGB in [0, 1].

        Returns:
            float32 ``(B, 1, H, W)``, metres.
        """

    def predict_depth(self, batch: DepthBatch) -> Tensor:
        """Depth that is held against the truth of a batch, ``(B, 1, H, W)``, metres; by default ``forward``."""
        return self(batch["image"])

    def evaluated_depth(self, batch: DepthBatch) -> Tensor:
        """:meth:`predict_depth`, blended with that of the mirror images while ``flip_postprocessing`` is on."""
        return self.with_flip(self.predict_depth, batch)

    def with_flip(self, predict: Callable[[Any], Tensor], batch: Any) -> Tensor:
        """What ``predict`` gives for a batch, blended with that of the mirror images if it is wanted."""
        if not self.flip_postprocessing:
            return predict(batch)
        return blended_with_mirror_image(predict, batch, quantity=self.flip_quantity)

    def _metrics(self, stage: str) -> DepthMetrics:
        metrics = self.depth_metrics[stage]
        assert isinstance(metrics, DepthMetrics)  # for the type checker: a ModuleDict forgets
        return metrics

    def _update_metrics(self, stage: str, batch: DepthBatch) -> None:
        self._metrics(stage).update(
            self.evaluated_depth(batch),
            target_m=batch["depth"],
            mask=batch["depth_mask"],
            depth_scale_m=batch["depth_scale_m"],
        )

    def stage_metrics(self, stage: str) -> dict[str, Tensor]:
        """Metrics of a finished validation or test, by name, with ``score``, by which checkpoints are chosen.

        The name of a metric tells its average and alignment; that of the score must not change with them.
        """
        values = {name: value.float() for name, value in self._metrics(stage).compute().items()}
        (score,) = (value for name, value in values.items() if name.startswith("abs_rel"))
        return {**values, "score": score}

    def _reset_metrics(self, stage: str) -> None:
        self._metrics(stage).reset()
        cast(SumMetric, self.measured_images[stage]).reset()
        self.truth_check.reset(stage)

    def _count_measured(self, stage: str, batch: DepthBatch) -> None:
        measured = batch["depth_mask"].flatten(1).any(dim=1)
        cast(SumMetric, self.measured_images[stage]).update(measured.float())

    def _without_truth(self, stage: str, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The metrics of a split, without those that its missing depth leaves empty, and a line that says so."""
        if float(cast(SumMetric, self.measured_images[stage]).compute()) > 0:
            return values
        if stage not in self._said_no_truth and self.trainer.is_global_zero:
            self._said_no_truth.add(stage)
            split = "validation" if stage == "val" else "test"
            score = ": val/score is the photometric error" if self.scores_without_truth and stage == "val" else ""
            logger.warning(
                "no ground truth depth in the %s images of %s, so errors of depth and panels of it are left out%s",
                split,
                self.data_name,
                score,
            )
        return {name: value for name, value in values.items() if not bool(value.isnan())}

    def _log_metrics(self, stage: str) -> None:
        values = self._without_truth(stage, self.stage_metrics(stage))
        if self.flip_postprocessing:
            values = {name if name == "score" else f"{name}_pp": value for name, value in values.items()}
        for name, value in values.items():
            # compute() has reduced the metric over all ranks, so every rank logs the same number.
            self.log(f"{stage}/{name}", value, prog_bar=name == "score" or name.startswith("delta1"))
        self.truth_check.explain(stage, values)
        self._reset_metrics(stage)

    @property
    def unscored(self) -> str | None:
        """Why the last validation or test gave no score though there is truth, one sentence; None where it gave one."""
        return self.truth_check.unscored

    def on_train_batch_start(self, batch: DepthBatch, batch_idx: int) -> None:
        """Look at the unit of the truth, once.

        Raises:
            ValueError: If measured depth cannot be in metres.
        """
        super().on_train_batch_start(batch, batch_idx)
        self.truth_check.look("train", batch)

    def on_validation_epoch_start(self) -> None:
        """Forget what a sanity check or an interrupted epoch has counted."""
        self._reset_metrics("val")

    def validation_step(self, batch: DepthBatch, batch_idx: int) -> None:
        """Update the validation metrics."""
        self._count_measured("val", batch)
        self.truth_check.look("val", batch)
        with explained(batch):
            self._update_metrics("val", batch)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        self._log_metrics("val")

    def on_test_epoch_start(self) -> None:
        """Forget what an interrupted test has counted."""
        self._reset_metrics("test")

    def test_step(self, batch: DepthBatch, batch_idx: int) -> None:
        """Update the test metrics."""
        self._count_measured("test", batch)
        self.truth_check.look("test", batch)
        with explained(batch):
            self._update_metrics("test", batch)

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._log_metrics("test")

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Depth ``(B, 1, H, W)`` in metres for a batch of images."""
        return self.with_flip(lambda one: self(one["image"]), batch)
