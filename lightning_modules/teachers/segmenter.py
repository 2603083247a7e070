"""A light semantic segmentation network, trained on the labels of rooms, as a teacher of proxy labels.

Not a paper: cross-entropy on every labelled pixel. Its predictions on other scenes replace the proxy labels of a large
network (GAM-Depth uses a Light-Weight RefineNet, https://arxiv.org/abs/1810.03272) without a download, and are
imperfect like those, since the scenes are not in its training data.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NotRequired, TypedDict, cast

from lightning.pytorch import Callback
from torch import Tensor, nn

from lightning_modules.callbacks.label_writer import LabelPredictionWriter
from lightning_modules.runs.class_names import NamedClasses
from lightning_modules.tasks.batch_needs import CLASSES, Loop, Need
from lightning_modules.tasks.evaluation_loop import STAGES, EvaluatedModule, Stage
from losses.semantic import proxy_cross_entropy
from metrics.segmentation import SegmentationMetrics
from networks.segmenter import SegmentationNet
from structures.batch import PADDING_INDEX
from structures.clip import IGNORED_LABEL


class LabelledImages(TypedDict):
    """The keys of a batch that the segmenter uses."""

    image: Tensor
    """float32 ``(B, 3, H, W)``, RGB in [0, 1]."""
    semantic: Tensor
    """int64 ``(B, H, W)``, class ids, 0 = none."""
    index: NotRequired[Tensor]
    """int64 ``(B,)``, position in the split, or ``PADDING_INDEX``."""


class Segmenter(NamedClasses, EvaluatedModule):
    """Semantic segmentation, validated by mean IoU and pixel accuracy.

    ``val/score`` is 1 - mean IoU, lower is better like every other score: checkpoints are chosen by it.

    Args:
        network: Maps an image ``(B, 3, H, W)`` in [0, 1] to logits ``(B, n_classes + 1, H, W)``.
        loss_weights: Weight of the only term, ``cross_entropy``.
        base: Arguments of :class:`PaperModule`.
    """

    paper_weights: ClassVar[Mapping[str, float]] = {"cross_entropy": 1.0}

    def __init__(self, network: SegmentationNet, **base: Any) -> None:
        super().__init__(**base)
        self.network = network
        self.segmentation_metrics = nn.ModuleDict({stage: SegmentationMetrics(network.n_classes) for stage in STAGES})

    def needs(self, loop: Loop) -> tuple[Need, ...]:
        """Images, and outside of prediction class labels of pixels, too."""
        return super().needs(loop) if loop == "predict" else (*super().needs(loop), CLASSES)

    def check_truth(self, batch: LabelledImages) -> None:
        """Refuse a batch without a labelled pixel: the loss would be zero."""
        if not bool((_labels(batch) != IGNORED_LABEL).any()):
            raise ValueError(
                f"{self.paper} is trained on class labels, but not one pixel of the first {len(batch['image'])} "
                f"training images of {self.data_name} has any: every class id is {IGNORED_LABEL}, which means unknown"
            )

    def task_callbacks(self) -> list[Callback]:
        """A file of predicted labels."""
        return [*super().task_callbacks(), LabelPredictionWriter()]

    @property
    def n_classes(self) -> int:
        """Highest class id; ids count from 1."""
        return self.network.n_classes

    def forward(self, image: Tensor) -> Tensor:
        """Class of every pixel.

        Args:
            image: float32 ``(B, 3, H, W)``, RGB in [0, 1], sides multiples of 32, at least 64.

        Returns:
            int64 ``(B, H, W)``, class ids from 1: every pixel gets a class.
        """
        logits = self.network(image)
        return logits[:, IGNORED_LABEL + 1 :].argmax(dim=1) + IGNORED_LABEL + 1

    def loss_terms(self, batch: LabelledImages) -> dict[str, Tensor]:
        """Mean cross-entropy over the labelled pixels.

        Raises:
            ValueError: If the batch has no labels, or a class id above the network's classes.
        """
        labels = _labels(batch)
        logits = self.network(batch["image"])
        return {"cross_entropy": proxy_cross_entropy(logits, labels=labels, ignore_index=IGNORED_LABEL)}

    def _metrics(self, stage: Stage) -> SegmentationMetrics:
        return cast(SegmentationMetrics, self.segmentation_metrics[stage])

    def update_metrics(self, stage: Stage, batch: LabelledImages) -> None:
        """Count right and wrong pixels."""
        self._metrics(stage).update(self(batch["image"]), target=_truth(batch))

    def stage_metrics(self, stage: Stage) -> dict[str, Tensor]:
        """Metrics of a finished validation or test, by name, with ``score``, by which checkpoints are chosen."""
        values = {name: value.float() for name, value in self._metrics(stage).compute().items()}
        return values | {"score": 1 - values["miou"]}

    def reset_metrics(self, stage: Stage) -> None:
        """Clear the counts of a stage."""
        self._metrics(stage).reset()

    def in_progress_bar(self, name: str) -> bool:
        """All metrics; the score is one of them in another form."""
        return name != "score"

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Class ids, int64 ``(B, H, W)``."""
        return self(batch["image"])


def _labels(batch: LabelledImages) -> Tensor:
    if "semantic" not in batch:
        raise ValueError("the batch has no 'semantic' labels: set data.init_args.fields to [semantic]")
    return batch["semantic"]


def _truth(batch: LabelledImages) -> Tensor:
    """Labels of the batch, without those of samples that only pad a rank's share."""
    labels = _labels(batch)
    if "index" not in batch:
        return labels
    return labels.masked_fill((batch["index"] == PADDING_INDEX).view(-1, 1, 1), IGNORED_LABEL)
