"""Base of papers on instance segmentation: detections, their metrics in validation and test, and prediction."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from lightning_modules.callbacks.instance_pictures import InstancePictures
from lightning_modules.callbacks.instance_writer import InstancePredictionWriter
from lightning_modules.runs.class_names import NamedClasses
from lightning_modules.tasks.batch_needs import OBJECTS, SCORED_OBJECTS, Loop, Need
from lightning_modules.tasks.evaluation_loop import STAGES, EvaluatedModule, Stage
from lightning_modules.tasks.masks_at_objects import masks_at_objects
from metrics.instances import InstanceMetrics
from networks.condinst import CondInst, CondInstOutputs
from structures.instances import Detections, InstanceBatch

SelectBy = Literal["mask_ap", "mask_ap_cut", "mask_iou", "box_ap"]


class InstanceSegmentationModule(NamedClasses, EvaluatedModule):
    """Base of papers that predict instances: detections with masks, evaluated by COCO's metrics.

    ``val/score`` is 1 minus the metric ``select_by``, lower is better: checkpoints are chosen by it. Where the data
    have no masks it is 1 minus the average precision of boxes.

    Args:
        network: The network; its classes are those of the data.
        select_by: Metric that checkpoints are chosen by, see :mod:`metrics.instances`.
        subsets: Flags of objects that are also evaluated separately, such as ``camouflaged``. They are left out, with a
            warning, if the objects of the data have no flags.
        boundary_tolerance_px: Distance within which boundaries agree, pixels of the original image.
        score_threshold: Least class probability times quality of a detection.
        iou_threshold: IoU threshold of non-maximum suppression within a class.
        max_detections: Largest number of detections of an image.
        cut_masks: Whether predicted masks are cut to their predicted boxes. Scores of cut and of whole masks are always
            both reported (``mask_ap_cut`` and ``mask_ap``).
        base: Arguments of :class:`PaperModule`.

    Raises:
        ValueError: If ``select_by`` is unknown or a number is out of range.
    """

    def __init__(
        self,
        network: CondInst,
        select_by: SelectBy = "mask_ap",
        subsets: Sequence[str] = (),
        boundary_tolerance_px: float = 2.0,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.6,
        max_detections: int = 100,
        cut_masks: bool = False,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        if select_by not in get_args(SelectBy):
            raise ValueError(f"select_by is '{select_by}', but must be one of {', '.join(get_args(SelectBy))}")
        if not (0 <= score_threshold <= 1 and 0 <= iou_threshold <= 1 and max_detections >= 1):
            raise ValueError(
                f"score_threshold ({score_threshold}) and iou_threshold ({iou_threshold}) must lie in [0, 1] and "
                f"max_detections ({max_detections}) be at least 1"
            )
        self.network = network
        self.select_by = select_by
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.max_detections = max_detections
        self.cut_masks = cut_masks
        self.instance_metrics = nn.ModuleDict(
            {stage: InstanceMetrics(subsets=subsets, boundary_tolerance_px=boundary_tolerance_px) for stage in STAGES}
        )

    def needs(self, loop: Loop) -> tuple[Need, ...]:
        """Images with boxes of objects; in validation and test with their ground truth."""
        own = super().needs(loop)
        if loop == "predict":
            return own
        return (*own, OBJECTS if loop == "train" else SCORED_OBJECTS)

    def task_callbacks(self) -> list[Callback]:
        """Pictures of instances, and files of predicted instances."""
        return [*super().task_callbacks(), InstancePictures(), InstancePredictionWriter()]

    @property
    def n_classes(self) -> int:
        """Number of classes of the network."""
        return self.network.head.logits.out_channels

    @abstractmethod
    def loss_terms(self, batch: InstanceBatch) -> dict[str, Tensor]:
        """Unweighted scalar loss terms of a batch, keyed like ``loss_weights``."""

    def setup(self, stage: str) -> None:
        """Check the classes of the network and the separately evaluated subsets against the data.

        Raises:
            ValueError: If the numbers of classes differ, or the objects of the data have flags, but not that of a
                subset.
        """
        super().setup(stage)
        self._check_subsets()
        of_data = getattr(getattr(self.trainer, "datamodule", None), "n_classes", None)
        if of_data is not None and of_data != self.n_classes:
            raise ValueError(
                f"the network has {self.n_classes} classes, but the data have {of_data}: set "
                f"model.init_args.network.init_args.n_classes to {of_data}, or to null for that of the data"
            )

    def _check_subsets(self) -> None:
        """Leave out the metrics of subsets if the data have no flags, and refuse an unknown flag."""
        data = getattr(self.trainer, "datamodule", None)
        flags: tuple[str, ...] | None = getattr(data, "flag_names", None)
        for stage in STAGES:
            subsets = self._metrics(stage).subsets
            unknown = [] if flags is None else [name for name in subsets if name not in flags]
            if not unknown:
                continue
            if flags:
                raise ValueError(
                    f"subsets holds {unknown[0]!r}, but the objects of {type(data).__name__} have no such flag; choose "
                    f"model.init_args.subsets among {', '.join(flags or ())}, or set it to []"
                )
            self._metrics(stage).leave_out_subsets()
            if stage == "val":
                rank_zero_warn(
                    f"The objects of {type(data).__name__} have no flags, so the scores of the subsets "
                    f"{', '.join(unknown)} are left out."
                )

    def forward(
        self, image: Tensor, scale: Tensor | None = None, original_size: Tensor | None = None
    ) -> list[Detections]:
        """Detected instances of images.

        Args:
            image: float32 ``(B, 3, H, W)``, RGB in [0, 1], H and W multiples of 32.
            scale: float32 ``(B, 2)``, factors from the original to the image's rows and columns; None for 1.
            original_size: int64 ``(B, 2)``, height and width of the original; None for those of the image.

        Returns:
            For each image its detections at the original size, best first.
        """
        return self._detections(self.network(image), scale, original_size, cut=self.cut_masks)

    def _detections(
        self, outputs: CondInstOutputs, scale: Tensor | None, original_size: Tensor | None, *, cut: bool
    ) -> list[Detections]:
        found = self.network.instances(
            outputs,
            scale=scale,
            original_size=original_size,
            score_threshold=self.score_threshold,
            iou_threshold=self.iou_threshold,
            max_detections=self.max_detections,
            cut=cut,
        )
        return cast(list[Detections], found)

    def detect(self, batch: Mapping[str, Any]) -> list[Detections]:
        """Detections of a batch, at the sizes of the original images.

        A user's images (``datamodules.prediction_images.ImageFiles``) have their sizes under other keys.
        """
        if "original_size" in batch:
            return self(batch["image"], batch["scale"], batch["original_size"])
        if "original_image" not in batch:
            return self(batch["image"])
        original, content = batch["original_image"], batch["content_size"].to(batch["image"].device)
        size = content.new_tensor(original.shape[-2:]).expand(len(original), 2)
        return self(batch["image"], content / size, size)

    def _metrics(self, stage: Stage) -> InstanceMetrics:
        return cast(InstanceMetrics, self.instance_metrics[stage])

    def update_metrics(self, stage: Stage, batch: InstanceBatch) -> None:
        """Add the detections of a batch, with whole masks, and the masks at the best locations of its objects."""
        detections, at_objects = self.detections_and_object_masks(batch)
        self._metrics(stage).update(
            detections, truths=batch["truth"], image_ids=batch["image_id"], at_objects=at_objects
        )

    def detections_and_object_masks(
        self, batch: InstanceBatch
    ) -> tuple[list[Detections], list[dict[str, Tensor] | None]]:
        """What a batch is evaluated by, at the sizes of the original images.

        Returns:
            The detections of each image with masks that are not cut to their boxes, and what
            :func:`~lightning_modules.tasks.masks_at_objects.masks_at_objects` returns.
        """
        outputs = self.network(batch["image"])
        detections = self._detections(outputs, batch["scale"], batch["original_size"], cut=False)
        return detections, masks_at_objects(self.network, outputs, batch)

    def stage_metrics(self, stage: Stage) -> dict[str, Tensor]:
        """Metrics of a finished validation or test, by name, with ``score``, by which checkpoints are chosen."""
        values = {name: value.float() for name, value in self._metrics(stage).compute().items()}
        chosen = values[self.select_by]
        return values | {"score": 1 - torch.where(chosen.isnan(), values["box_ap"], chosen)}

    def reset_metrics(self, stage: Stage) -> None:
        """Clear the metrics of a stage."""
        self._metrics(stage).reset()

    def in_progress_bar(self, name: str) -> bool:
        """The score and the two main metrics of masks."""
        return name in ("score", "mask_ap", "mask_iou")

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> list[Detections]:
        """Detections of a batch, at the sizes of the original images."""
        return self.detect(batch)
