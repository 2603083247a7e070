"""Box-supervised instance segmentation with pseudo depth: masks learned from boxes, with depth in training only.

CondInst predicts instance masks with a dynamic mask head for each instance. BoxInst trains it without masks: the
projections of a mask have to match those of its box, and neighbouring pixels of similar colour get the same label. The
paper adds the depth that a monocular network predicts for the training images: neighbours of similar depth get the same
label too; the mask head also predicts depth, which gates its mask; and pseudo masks of a teacher, an average of the
student that is matched to the boxes with the help of depth, supervise the student. Inference needs no depth.

Paper: "Boosting Box-supervised Instance Segmentation with Pseudo Depth", https://arxiv.org/abs/2403.01214. It builds on
CondInst, https://arxiv.org/abs/2003.05664 (network, section 3), and BoxInst, https://arxiv.org/abs/2012.02310
(equations 3 to 7). The terms are in ``mask_terms.py``. The stages are configurations of ``loss_weights``:

    condinst             classification, boxes, quality, mask
    boxinst              classification, boxes, quality, projection, pairwise_colour
    boxinst_depth_loss   the terms of boxinst and pairwise_depth
    boxinst_depth_head   the terms of boxinst_depth_loss and depth, with a depth-guided network
    boxinst_depth        the terms of boxinst_depth_head and distillation

With ``mask`` beside the terms of boxes, supervision is mixed: instances of images with ``has_masks`` are supervised by
their masks, all others by their boxes. Every instance has the same weight.

Deviations:
    - The unit of depth is not published, and the threshold has no meaning without it. Here depth is inverse depth in
      [0, 1] over the image times ``depth_scale``, so that pairs closer than ``0.69 / depth_scale`` get the same label.
    - ``pair_gate: both`` restricts colour pairs to those of similar depth. A pairwise term can only attract, and at the
      edge of a camouflaged object colour attracts the wrong pixels. ``depth`` replaces colour by depth.
    - ``depth_affinity: plane`` compares a pixel with the plane through its neighbour (``losses/plane_affinity.py``).
      The paper's difference of depths, ``first``, excludes pairs inside sloping surfaces and includes pairs across the
      contact of an object with the floor.
    - ``joint_pairs`` divides both pairwise terms by the number of all selected pairs. The paper's two terms have a
      normaliser each, so that adding depth pairs also doubles the weight of pairs against projection.
    - Depth regression is a mean over a box's pixels, then over instances; its target is normalised over the image.
    - Of the teacher only the form of the score is published; the rest is this project's (``self_distillation.py``).
    - Warm-ups are fractions of the training and count from 0, so that they scale with its length.
    - Weight decay includes norms. Deviations of the network are listed in ``networks/condinst.py``.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from geometry.boxes import box_masks
from geometry.processes import sum_over_processes
from geometry.stencils import fill_outside
from lightning_modules.boxinst_depth.common_size import with_common_size
from lightning_modules.boxinst_depth.detection_losses import BoxQuality, fcos_terms
from lightning_modules.boxinst_depth.mask_terms import (
    PredictedMasks,
    depth_term,
    distillation_term,
    instance_total,
    mask_term,
    pairwise_term,
    projection_term,
)
from lightning_modules.boxinst_depth.self_distillation import MaskTeacher, SelfDistillation
from lightning_modules.schedules import linear_ramp
from lightning_modules.tasks.batch_needs import PSEUDO_DEPTH, Loop, Need
from lightning_modules.tasks.instance_segmentation import InstanceSegmentationModule
from lightning_modules.tasks.optimisation import Optimisation
from losses.fcos_targets import FCOSTargets, assign, mask_centres, raster_centres, select_for_masks
from losses.pairwise_affinity import (
    PairGate,
    colour_similarity,
    count_pairs,
    depth_similarity,
    pair_weights,
    without_bottom,
)
from losses.plane_affinity import plane_similarity
from networks.condinst import CondInstOutputs
from structures.instances import InstanceBatch

DETECTION_TERMS = ("classification", "boxes", "quality")
BOX_TERMS = ("projection", "pairwise_colour", "pairwise_depth", "distillation")
DepthAffinity = Literal["first", "plane"]
DEPTH_SIMILARITIES = {"first": depth_similarity, "plane": plane_similarity}
TERMS = (*DETECTION_TERMS, "mask", *BOX_TERMS, "depth")


class BoxInstDepth(InstanceSegmentationModule):
    """Instance segmentation from boxes, optionally with pseudo depth, ground-truth masks and a teacher.

    Args:
        network: Depth-guided where ``depth`` is among the loss terms.
        loss_weights: Any of ``classification``, ``boxes``, ``quality``, ``mask``, ``projection``, ``pairwise_colour``,
            ``pairwise_depth``, ``depth`` and ``distillation``; a term that is left out is not computed. None is the
            paper's: all but ``mask``, with weight 1, and 2 for ``distillation`` (the paper finds a weight above that of
            ``projection`` better; the value is this project's).
        distillation: Settings of the teacher; None with the term ``distillation`` takes the defaults.
        warmup: Part of the training over which the pairwise terms rise from zero (10,000 of 90,000 steps).
        pair_gate: The similarity by which ``pairwise_colour`` selects pairs: ``colour``, ``depth`` or ``both``.
        colour_threshold: Least similarity of colour of a selected pair.
        depth_threshold: Similarity of depth that a selected pair exceeds (the best of the paper's ablation).
        depth_scale: Factor on differences of inverse depth in [0, 1]; this project's.
        depth_affinity: What makes depth similar: ``first``, a small difference of both pixels (the paper's), or
            ``plane``, a small error of the plane through each of them at the other.
        joint_pairs: Whether the pairwise terms have a common normaliser, the number of pairs of both.
        dilation: Distance of neighbours on the grid of the masks, in its pixels.
        bottom_rows: Lowest rows of the original image that are left out of colour pairs (captions).
        box_quality: What the quality branch predicts: ``centerness``, or the ``iou`` (the paper's on Swin).
        centre_radius: Half the side of the window of positive locations, in strides.
        masks_per_image: Approximate number of locations of an image whose mask is trained.
        optimisation: Stochastic gradient descent, as in the paper.
        base: Arguments of :class:`InstanceSegmentationModule`.

    Raises:
        ValueError: If a loss term or choice is unknown, a term lacks what it needs, or a number is out of range.
    """

    paper_weights: ClassVar[Mapping[str, float]] = {
        name: 2.0 if name == "distillation" else 1.0 for name in TERMS if name != "mask"
    }

    def __init__(
        self,
        distillation: SelfDistillation | None = None,
        warmup: float = 1 / 9,
        pair_gate: PairGate = "colour",
        colour_threshold: float = 0.3,
        depth_threshold: float = 0.5,
        depth_scale: float = 10.0,
        depth_affinity: DepthAffinity = "first",
        joint_pairs: bool = False,
        dilation: int = 2,
        bottom_rows: int = 10,
        box_quality: BoxQuality = "centerness",
        centre_radius: float = 1.5,
        masks_per_image: int = 64,
        optimisation: Optimisation = Optimisation(torch.optim.SGD),
        **base: Any,
    ) -> None:
        super().__init__(optimisation=optimisation, **base)
        wanted = self.loss_weights.keys()
        if wanted - set(TERMS):
            raise ValueError(f"loss term '{min(wanted - set(TERMS))}' is not known; choose among {', '.join(TERMS)}")
        if not wanted >= set(DETECTION_TERMS) or not wanted & {"mask", "projection"}:
            raise ValueError("classification, boxes, quality and one of mask and projection must be among loss_weights")
        if "depth" in wanted and not self.network.mask_head.depth_guided:
            raise ValueError("the loss term 'depth' needs a depth layer: set network.init_args.depth_guided to true")
        if distillation is not None and "distillation" not in wanted:
            raise ValueError("distillation is given, but the loss term 'distillation' is not among loss_weights")
        if not 0 <= warmup <= 1:
            raise ValueError(f"warmup is {warmup}, but must be a fraction of the training, 0 to 1")
        if pair_gate not in ("colour", "depth", "both") or box_quality not in ("centerness", "iou"):
            raise ValueError(
                f"pair_gate ('{pair_gate}') must be 'colour', 'depth' or 'both' and box_quality ('{box_quality}') "
                "'centerness' or 'iou'"
            )
        if depth_affinity not in DEPTH_SIMILARITIES:
            raise ValueError(f"depth_affinity is '{depth_affinity}', but must be {' or '.join(DEPTH_SIMILARITIES)}")
        if joint_pairs and not wanted >= {"pairwise_colour", "pairwise_depth"}:
            raise ValueError("joint_pairs needs both pairwise_colour and pairwise_depth among loss_weights")
        if bottom_rows < 0 or not depth_scale > 0:
            raise ValueError(
                f"bottom_rows ({bottom_rows}) must not be negative and depth_scale ({depth_scale}) positive"
            )
        self.warmup = warmup
        self.pair_gate: PairGate = pair_gate
        self.colour_threshold = colour_threshold
        self.depth_threshold = depth_threshold
        self.depth_scale = depth_scale
        self.depth_affinity: DepthAffinity = depth_affinity
        self.joint_pairs = joint_pairs
        self.dilation = dilation
        self.bottom_rows = bottom_rows
        self.box_quality: BoxQuality = box_quality
        self.centre_radius = centre_radius
        self.masks_per_image = masks_per_image
        self.distillation: SelfDistillation | None = None
        if "distillation" in wanted:
            self.distillation = SelfDistillation() if distillation is None else distillation
            self.teacher = MaskTeacher(self.network, self.distillation)
        self.teacher_statistics: dict[str, Tensor] = {}

    def setup(self, stage: str) -> None:
        """Check the loss terms against the data module, too.

        Raises:
            ValueError: If masks are the only supervision and the data module allows none, or as in the base.
        """
        super().setup(stage)
        allowed = getattr(getattr(self.trainer, "datamodule", None), "mask_share", None)
        if stage == "fit" and allowed == 0 and "projection" not in self.loss_weights:
            raise ValueError(
                "masks are learned from masks alone, but the data allow none: set data.init_args.mask_share"
            )

    def needs(self, loop: Loop) -> tuple[Need, ...]:
        """The needs of the base class and, where a loss term or the teacher uses it, pseudo depth."""
        own = super().needs(loop)
        return (*own, PSEUDO_DEPTH) if loop == "train" and self._needs_depth() else own

    def weighted(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Loss terms times their weights and the factors of the warm-up and of the distillation ramp."""
        scaled, progress = super().weighted(terms), self.progress()
        rise = linear_ramp(progress, length=self.warmup)
        factors = {"pairwise_colour": rise, "pairwise_depth": rise}
        if self.distillation is not None:
            factors["distillation"] = self.distillation.strength(progress)
        return {name: term * factors.get(name, 1.0) for name, term in scaled.items()}

    def loss_terms(self, batch: InstanceBatch) -> dict[str, Tensor]:
        """Unweighted loss terms of a batch, those among ``loss_weights``.

        Raises:
            ValueError: If a term needs pseudo depth and the batch has none.
        """
        batch = with_common_size(batch)
        outputs = self.network(batch["image"])
        targets = assign(
            outputs.locations,
            strides=outputs.strides,
            size_ranges=outputs.size_ranges,
            boxes=batch["boxes"],
            labels=batch["labels"],
            centres=self.instance_centres(batch),
            radius=self.centre_radius,
        )
        terms = fcos_terms(outputs.head, targets, box_quality=self.box_quality)
        terms |= self.mask_terms(batch, outputs, targets)
        return {name: terms[name] for name in self.loss_weights}

    def mask_supervised(self, batch: InstanceBatch) -> Tensor:
        """Bool ``(B,)``, images whose instances are supervised by their masks; the masks of the others are not used."""
        if "mask" in self.loss_weights and "masks" in batch:
            return batch["has_masks"]
        return torch.zeros_like(batch["has_masks"])

    def instance_centres(self, batch: InstanceBatch) -> Tensor:
        """``(B, N, 2)`` centroids of the masks that may be used, and of the rasterised boxes otherwise."""
        boxes, size = batch["boxes"], (batch["image"].shape[-2], batch["image"].shape[-1])
        of_boxes = raster_centres(boxes, size)
        if "masks" not in batch or "mask" not in self.loss_weights:
            return of_boxes
        masks = batch["masks"] & self.mask_supervised(batch)[:, None, None, None]
        return torch.where(masks.flatten(2).any(dim=2, keepdim=True), mask_centres(masks).to(of_boxes), of_boxes)

    def mask_terms(self, batch: InstanceBatch, outputs: CondInstOutputs, targets: FCOSTargets) -> dict[str, Tensor]:
        """Loss terms of the masks that are predicted at the best locations of every instance.

        Args:
            batch: Images with their boxes, and masks and pseudo depth where a term needs them.
            outputs: Of the network.
            targets: Of the locations.

        Returns:
            The unweighted terms among ``loss_weights``; their equations are in ``mask_terms.py``.
        """
        wanted, stride = self.loss_weights.keys(), self.network.mask_stride
        scores = self.network.probabilities(outputs).amax(dim=-1)
        image, location, instance = select_for_masks(targets.instance, scores, per_image=self.masks_per_image)
        predicted = self.network.masks(outputs, image=image, location=location)
        size = (batch["image"].shape[-2], batch["image"].shape[-1])
        inside = box_masks(batch["boxes"][image, instance], size, stride=stride).unsqueeze(1)
        total = instance_total(len(image), image.device)
        masks = PredictedMasks(predicted.logits, image, instance, inside, total)
        by_mask = self.mask_supervised(batch)[image]
        full, boxed = by_mask.nonzero().squeeze(1), (~by_mask).nonzero().squeeze(1)
        box_supervised = masks.subset(boxed)
        terms: dict[str, Tensor] = {}
        if "mask" in wanted:
            terms["mask"] = mask_term(masks, full, batch.get("masks"), stride=stride)
        if "projection" in wanted:
            terms["projection"] = projection_term(box_supervised)
        pseudo_depth, valid = self.pseudo_depth(batch) if self._needs_depth() else (None, None)
        alike = self.similarities(batch, pseudo_depth, valid)
        terms |= self.pairwise_terms(box_supervised, alike)
        if "depth" in wanted and pseudo_depth is not None and valid is not None and predicted.depth is not None:
            terms["depth"] = depth_term(masks, predicted.depth, pseudo_depth=pseudo_depth, valid=valid)
        if self.distillation is not None:
            terms["distillation"] = 0.0 * masks.logits.sum()  # stays in the graph before the teacher's start: DDP
            if self.progress() >= self.distillation.start:
                pseudo = self.teacher.pseudo_masks(
                    batch, alike["depth"], depth_threshold=self.depth_threshold, dilation=self.dilation
                )
                self.teacher_statistics = pseudo.statistics(batch)
                terms["distillation"] = terms["distillation"] + distillation_term(masks, boxed, pseudo)
        return terms

    def pairwise_terms(self, masks: PredictedMasks, alike: dict[str, Tensor | None]) -> dict[str, Tensor]:
        """The terms ``pairwise_colour`` and ``pairwise_depth``, those among ``loss_weights``.

        Args:
            masks: Predictions of the instances that are supervised by their box.
            alike: See :meth:`similarities`.
        """
        gates: dict[str, PairGate] = {"pairwise_colour": self.pair_gate, "pairwise_depth": "depth"}
        pairs = {
            name: pair_weights(
                gate,
                colour=alike["colour"],
                depth=alike["depth"],
                colour_threshold=self.colour_threshold,
                depth_threshold=self.depth_threshold,
            )
            for name, gate in gates.items()
            if name in self.loss_weights
        }
        terms = {name: pairwise_term(masks, pairs=selected, dilation=self.dilation) for name, selected in pairs.items()}
        if not self.joint_pairs:
            return terms
        counts = {
            name: count_pairs(selected, box_masks=masks.box_masks, image_index=masks.image)
            for name, selected in pairs.items()
        }
        selected_pairs = sum_over_processes(torch.stack(list(counts.values())))
        total = selected_pairs.sum().clamp(min=1)
        return {name: terms[name] * (count / total) for name, count in zip(counts, selected_pairs, strict=True)}

    def similarities(
        self, batch: InstanceBatch, depth: Tensor | None, valid: Tensor | None
    ) -> dict[str, Tensor | None]:
        """Similarities ``colour`` and ``depth`` of neighbouring pixels, ``(B, 8, h, w)``; None where not needed.

        Args:
            batch: Images and the mask of their content without padding.
            depth: ``(B, 1, h, w)``, pseudo depth on the grid of the masks, or None.
            valid: bool ``(B, 1, h, w)``, where there is pseudo depth, or None.
        """
        of_depth = of_colour = None
        if depth is not None:
            of_depth = DEPTH_SIMILARITIES[self.depth_affinity](
                depth, depth_scale=self.depth_scale, depth_mask=valid, dilation=self.dilation
            )
        if "pairwise_colour" in self.loss_weights and self.pair_gate != "depth":
            content = without_bottom(batch["image_mask"], rows=self.bottom_rows * batch["scale"][:, 0])
            of_colour = colour_similarity(
                batch["image"], image_mask=content, stride=self.network.mask_stride, dilation=self.dilation
            )
        return {"colour": of_colour, "depth": of_depth}

    def _needs_depth(self) -> bool:
        wanted = self.loss_weights.keys()
        by_gate = self.pair_gate != "colour" and "pairwise_colour" in wanted
        matched = self.distillation is not None and self.distillation.beta > 0
        return by_gate or matched or bool(wanted & {"pairwise_depth", "depth"})

    def pseudo_depth(self, batch: InstanceBatch) -> tuple[Tensor, Tensor]:
        """Pseudo depth ``(B, 1, h, w)`` on the grid of the masks, the mean over each cell, and where it is valid.

        Raises:
            ValueError: If the batch has none.
        """
        if "pseudo_depth" not in batch or "depth_mask" not in batch:
            raise ValueError(PSEUDO_DEPTH.source)
        stride, known = self.network.mask_stride, batch["depth_mask"].float()
        part = F.avg_pool2d(known, stride)
        depth = F.avg_pool2d(fill_outside(batch["pseudo_depth"].float(), batch["depth_mask"]), stride)
        return depth / part.clamp(min=0.5), part >= 0.5

    def training_step(self, batch: InstanceBatch, batch_idx: int) -> Tensor:
        """Weighted sum of the loss terms; also logs the statistics of the pseudo masks."""
        self.teacher_statistics = {}
        loss = super().training_step(batch, batch_idx)
        for name, value in self.teacher_statistics.items():
            self.log(f"train/teacher_{name}", value.float(), batch_size=len(batch["image"]))
        return loss

    def on_train_start(self) -> None:
        """Copy the student into the teacher before the first step: weights may have been loaded into the student."""
        if self.distillation is not None and self.global_step == 0:
            self.teacher.update(self.network, 0)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take a step, then update the teacher's moving average."""
        super().optimizer_step(*args, **kwargs)
        if self.distillation is not None and self._updates(self.global_step + 1) >= 0:
            self.teacher.update(self.network, self._updates(self.global_step + 1))

    def _updates(self, step: int) -> int:
        """Steps since the teacher's start, negative before."""
        assert self.distillation is not None
        return step - math.ceil(self.distillation.start * float(self.trainer.estimated_stepping_batches) - 1e-6)
