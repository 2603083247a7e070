"""What papers that predict depth share: metrics of validation and test, and depth in metres in prediction."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
from lightning.pytorch import Callback
from torch import Tensor
from torchmetrics import SumMetric

from lightning_modules.callbacks.pictures import DepthPictures
from lightning_modules.callbacks.prediction_writer import DepthPredictionWriter
from lightning_modules.tasks.base import logger
from lightning_modules.tasks.batch_needs import DEPTH, Loop, Need, validation_measured
from lightning_modules.tasks.evaluation import DepthEvaluation
from lightning_modules.tasks.evaluation_loop import STAGES, EvaluatedModule, Stage
from lightning_modules.tasks.flip_postprocessing import blended_with_mirror_image
from lightning_modules.tasks.truth_check import TruthCheck
from metrics.depth import DepthMetrics
from structures.batch import DepthBatch
from structures.choices import Quantity


class DepthModule(EvaluatedModule):
    """Base of papers that predict depth: metrics on validation and test, depth in metres on predict.

    ``val/score`` is AbsRel under the module's own protocol, lower is better: checkpoints are chosen by it. If a
    split has no measured depth, the metrics that need it are left out with a message; a training whose checkpoints
    could then not be chosen is refused before its first step.

    Args:
        evaluation: Protocol of validation and test.
        base: Arguments of :class:`PaperModule`.
    """

    def __init__(self, evaluation: DepthEvaluation = DepthEvaluation(), **base: Any) -> None:
        super().__init__(**base)
        self.evaluation = evaluation
        self.depth_metrics = torch.nn.ModuleDict({stage: DepthMetrics(**vars(evaluation)) for stage in STAGES})
        self.measured_images = torch.nn.ModuleDict({stage: SumMetric() for stage in STAGES})
        self._reported_no_truth: set[str] = set()
        self.flip_postprocessing = False
        self.truth_check = TruthCheck({stage: self._metrics(stage).protocol for stage in STAGES})

    flip_quantity: ClassVar[Quantity] = "depth"
    """The quantity that flip post-processing blends."""
    scores_without_truth: ClassVar[bool] = False
    """Whether ``val/score`` is another metric if a split has no measured depth."""

    def on_fit_start(self) -> None:
        """Refuse validation data without any measured depth if checkpoints are chosen by errors of depth.

        Raises:
            ValueError: If no validation image has a measured pixel.
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
        """Images, and in validation and test depth."""
        return (*super().needs(loop), DEPTH) if loop in ("val", "test") else super().needs(loop)

    def task_callbacks(self) -> list[Callback]:
        """Pictures of depth, and files of predicted depth."""
        return [*super().task_callbacks(), DepthPictures(), DepthPredictionWriter()]

    @property
    def scale_known(self) -> bool:
        """Whether depth is in metres and not up to an unknown scale."""
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
        """Depth that is compared with the ground truth of a batch, ``(B, 1, H, W)``, metres; by default ``forward``."""
        return self(batch["image"])

    def evaluated_depth(self, batch: DepthBatch) -> Tensor:
        """:meth:`predict_depth`, blended with that of the mirror images while ``flip_postprocessing`` is on."""
        return self.with_flip(self.predict_depth, batch)

    def with_flip(self, predict: Callable[[Any], Tensor], batch: Any) -> Tensor:
        """Result of ``predict`` for a batch, blended with that of the mirror images if flipping is on."""
        if not self.flip_postprocessing:
            return predict(batch)
        return blended_with_mirror_image(predict, batch, quantity=self.flip_quantity)

    def _metrics(self, stage: Stage) -> DepthMetrics:
        metrics = self.depth_metrics[stage]
        assert isinstance(metrics, DepthMetrics)  # for the type checker
        return metrics

    def check_evaluated(self, stage: Stage, batch: DepthBatch) -> None:
        """Count the images with measured depth, and check the unit of the first ones.

        Raises:
            ValueError: If measured depth cannot be in metres.
        """
        measured = batch["depth_mask"].flatten(1).any(dim=1)
        cast(SumMetric, self.measured_images[stage]).update(measured.float())
        self.truth_check.check(stage, batch)

    def update_metrics(self, stage: Stage, batch: DepthBatch) -> None:
        """Predict a batch and add its errors of depth."""
        self._metrics(stage).update(
            self.evaluated_depth(batch),
            target_m=batch["depth"],
            mask=batch["depth_mask"],
            depth_scale_m=batch["depth_scale_m"],
        )

    def stage_metrics(self, stage: Stage) -> dict[str, Tensor]:
        """Metrics of a finished validation or test, by name, with ``score``, by which checkpoints are chosen.

        The name of a metric contains its average and alignment; that of the score does not change with them.
        """
        values = {name: value.float() for name, value in self._metrics(stage).compute().items()}
        (score,) = (value for name, value in values.items() if name.startswith("abs_rel"))
        return {**values, "score": score}

    def reset_metrics(self, stage: Stage) -> None:
        """Clear the metrics and the counts of ground truth of a stage."""
        self._metrics(stage).reset()
        cast(SumMetric, self.measured_images[stage]).reset()
        self.truth_check.reset(stage)

    def logged_metrics(self, stage: Stage) -> dict[str, Tensor]:
        """Metrics of the table: without those that lack ground truth, with ``_pp`` after flip post-processing."""
        values = self._without_truth(stage, self.stage_metrics(stage))
        self.truth_check.warn_if_nan(stage, values)
        if not self.flip_postprocessing:
            return values
        return {name if name == "score" else f"{name}_pp": value for name, value in values.items()}

    def _without_truth(self, stage: Stage, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The metrics of a split; without measured depth those that need it are left out, with a message."""
        if float(cast(SumMetric, self.measured_images[stage]).compute()) > 0:
            return values
        if stage not in self._reported_no_truth and self.trainer.is_global_zero:
            self._reported_no_truth.add(stage)
            split = "validation" if stage == "val" else "test"
            score = ": val/score is the photometric error" if self.scores_without_truth and stage == "val" else ""
            logger.warning(
                "no ground truth depth in the %s images of %s, so errors of depth and panels of it are left out%s",
                split,
                self.data_name,
                score,
            )
        return {name: value for name, value in values.items() if not bool(value.isnan())}

    def in_progress_bar(self, name: str) -> bool:
        """The score and the share of accurate pixels."""
        return name == "score" or name.startswith("delta1")

    @property
    def unscored(self) -> str | None:
        """The reason why the last stage has no score although there is ground truth; None if it has one."""
        return self.truth_check.unscored

    def on_train_batch_start(self, batch: DepthBatch, batch_idx: int) -> None:
        """Check the unit of the first ground truth.

        Raises:
            ValueError: If measured depth cannot be in metres.
        """
        super().on_train_batch_start(batch, batch_idx)
        self.truth_check.check("train", batch)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Depth ``(B, 1, H, W)`` in metres for a batch of images."""
        return self.with_flip(lambda one: self(one["image"]), batch)
