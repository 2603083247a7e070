"""Self-distillation of masks: a teacher that averages the student's weights, and whose good masks the student learns.

"Boosting Box-supervised Instance Segmentation with Pseudo Depth", https://arxiv.org/abs/2403.01214. The paper gives the
form of the score and that teacher and boxes are matched by a bipartite assignment; its constants and the start are not
published, so that those here are ours.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from geometry.boxes import NEIGHBOUR_OFFSETS, box_masks, has_area, neighbours
from geometry.stencils import fill_outside
from lightning_modules.schedules import linear_ramp
from networks.condinst import CondInst
from networks.condinst_inference import Candidates, paste_masks
from networks.ema import EMATeacher
from structures.instances import SIZE_DIVISOR, InstanceBatch

IMPOSSIBLE = -1.0
"""Score of a prediction that must not stand for a box: below every true score, which are at least 0."""


class TeacherMasks(NamedTuple):
    """What a teacher says of the boxes of a batch."""

    masks: Tensor
    """bool ``(B, N, h, w)``, cut to the box; all False where none was accepted."""
    accepted: Tensor
    """bool ``(B, N)``."""
    score: Tensor
    """``(B, N)`` of the matched prediction; 0 without any."""
    stride: int
    """Pixels of the image to a cell of the masks."""

    def statistics(self, batch: InstanceBatch) -> dict[str, Tensor]:
        """What is worth logging: masks of an image, accepted share of the boxes and, for masks that are known, the IoU.

        Args:
            batch: What the teacher was asked about. Its masks are looked at where ``has_masks`` allows it, for the log
                alone.
        """
        n_accepted, n_boxes = self.accepted.sum(), (batch["labels"] > 0).sum()
        values = {"masks_per_image": n_accepted / len(self.masks), "acceptance": n_accepted / n_boxes.clamp(min=1)}
        if "masks" in batch:
            judged = self.accepted & batch["has_masks"].unsqueeze(1)
            truth = sampled(batch["masks"], self.stride)
            both, either = (self.masks & truth).sum(dim=(2, 3)), (self.masks | truth).sum(dim=(2, 3))
            iou = fill_outside(both / either.clamp(min=1), judged).sum() / judged.sum()
            values["true_iou"] = iou  # NaN without any
        return values


def sampled(masks: Tensor, stride: int) -> Tensor:
    """Every ``stride``-th pixel of masks ``(..., H, W)``, where the mask head's cells have their centres."""
    return masks[..., stride // 2 :: stride, stride // 2 :: stride]


def depth_agreement(masks: Tensor, similarity: Tensor, *, threshold: float, dilation: int) -> Tensor:
    """Share of the pairs of neighbours within a mask that lie at one depth.

    Args:
        masks: bool ``(M, h, w)``, predictions of one image.
        similarity: ``(8, h, w)`` of :func:`losses.pairwise_affinity.depth_similarity`, 0 where it is unknown.
        threshold: A pair lies at one depth where its similarity exceeds this.
        dilation: Distance to the neighbours, the one of the similarity.

    Returns:
        ``(M,)`` in [0, 1]; 0 for a mask without a pair of known depth.
    """
    pairs, agreeing = similarity.new_zeros(2, len(masks))
    for i in range(len(NEIGHBOUR_OFFSETS) // 2):  # the other four are the same pairs
        here, there = neighbours(masks, i, dilation=dilation)
        alike, _ = neighbours(similarity[i], i, dilation=dilation)
        both = here & there & (alike > 0)
        pairs = pairs + both.sum(dim=(1, 2))
        agreeing = agreeing + (both & (alike > threshold)).sum(dim=(1, 2))
    return agreeing / pairs.clamp(min=1)


def match(
    overlap: Tensor, *, same_class: Tensor, depth: Tensor, confidence: Tensor, alpha: float, beta: float, min_iou: float
) -> tuple[Tensor, Tensor]:
    """Give every box at most one prediction, so that the sum of the scores is the largest (Hungarian algorithm).

    The score is ``alpha IoU + beta depth + (1 - alpha - beta) confidence``. A prediction of another class or with less
    IoU cannot stand for a box.

    Args:
        overlap: ``(N, M)`` IoU of N boxes with M predictions.
        same_class: bool ``(N, M)``.
        depth: ``(M,)`` of :func:`depth_agreement`.
        confidence: ``(M,)`` in [0, 1].
        alpha: Weight of the IoU.
        beta: Weight of the depth.
        min_iou: Least IoU.

    Returns:
        int64 ``(N,)`` prediction of each box, -1 for none, and ``(N,)`` its score, 0 for none.
    """
    chosen = torch.full(overlap.shape[:1], -1, dtype=torch.int64, device=overlap.device)
    scores = overlap.new_zeros(overlap.shape[0])
    if overlap.numel() == 0:
        return chosen, scores
    score = alpha * overlap + beta * depth + (1 - alpha - beta) * confidence
    score = fill_outside(score, same_class & (overlap >= min_iou), IMPOSSIBLE)
    table = score.detach().double().cpu().numpy()
    # An impossible pair costs as much as no pair at all; else one would push possible pairs aside.
    rows, columns = linear_sum_assignment(np.maximum(table, 0), maximize=True)
    possible = table[rows, columns] > IMPOSSIBLE
    boxes, found = (torch.from_numpy(i[possible]).to(chosen.device) for i in (rows, columns))
    chosen[boxes] = found
    scores[boxes] = score[boxes, found]
    return chosen, scores


@dataclass(frozen=True)
class SelfDistillation:
    """How a teacher's predictions become masks of boxes.

    Args:
        input_size: Shorter side of the teacher's images, and limit of the longer one, pixels: always the same, whereas
            the student's images vary. The paper's is 800.
        start: Part of the training after which the teacher's masks are used; until then it has the student's weights.
        ramp: Part of the training over which their weight then rises from zero.
        momentum: Share of the old weights in the average, once it has run for as long.
        alpha: Weight of the IoU of boxes in the score of a match.
        beta: Weight of the agreement in depth; what is left is the weight of the teacher's confidence.
        threshold: Matches with a larger score are accepted.
        min_iou: Least IoU of a teacher's box with the true one.
        score_threshold: Least class probability times quality of the teacher's predictions.

    Raises:
        ValueError: If a number is out of its range.
    """

    input_size: tuple[int, int] = (800, 1333)
    start: float = 1 / 3
    ramp: float = 1 / 9
    momentum: float = 0.999
    alpha: float = 0.5
    beta: float = 0.25
    threshold: float = 0.5
    min_iou: float = 0.5
    score_threshold: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.input_size[0] <= self.input_size[1]:
            raise ValueError(f"input_size is {self.input_size}, but the shorter side comes first and is positive")
        if not (0 <= self.start <= 1 and 0 <= self.ramp <= 1):
            raise ValueError(f"start ({self.start}) and ramp ({self.ramp}) are parts of the training, 0 to 1")
        if min(self.alpha, self.beta) < 0 or self.alpha + self.beta > 1:
            raise ValueError(
                f"alpha ({self.alpha}) and beta ({self.beta}) must not be negative and add up to 1 at most"
            )
        if not (0 <= self.threshold <= 1 and 0 <= self.min_iou <= 1 and 0 <= self.score_threshold <= 1):
            raise ValueError(
                f"threshold ({self.threshold}), min_iou ({self.min_iou}) and score_threshold "
                f"({self.score_threshold}) must lie in [0, 1]"
            )

    def strength(self, progress: float) -> float:
        """Factor of the loss at a part of the training: 0 until the start, then a linear ramp to 1."""
        return linear_ramp(progress, start=self.start, length=self.ramp)


class MaskTeacher(EMATeacher):
    """The averaged student, and what it says of boxes.

    Args:
        student: The network.
        settings: How its predictions become masks.
    """

    model: CondInst

    def __init__(self, student: CondInst, settings: SelfDistillation) -> None:
        super().__init__(student, settings.momentum)
        self.settings = settings

    @torch.no_grad()
    def label(
        self, batch: InstanceBatch, similarity: Tensor | None, *, depth_threshold: float, dilation: int
    ) -> TeacherMasks:
        """Look at the images at the teacher's own size, and match what is found with the boxes.

        Args:
            batch: Images, which of their pixels are real, boxes and labels.
            similarity: ``(B, 8, h, w)``, depth similarity of neighbours on the masks' grid; None only with ``beta`` 0.
            depth_threshold: A pair of neighbours lies at one depth where its similarity exceeds this.
            dilation: Distance of neighbours, the one of the similarity.

        Returns:
            Masks on the grid of the student's mask targets, ``h = H / mask_stride``.

        Raises:
            ValueError: If the score looks at depth and there is none.
        """
        teacher, settings = self.model, self.settings
        image, boxes, labels = batch["image"], batch["boxes"], batch["labels"]
        if similarity is None and settings.beta > 0:
            raise ValueError("the teacher's masks are matched by depth (beta > 0), but the batch has no pseudo depth")
        size, stride = (image.shape[-2], image.shape[-1]), teacher.mask_stride
        inside = box_masks(boxes, size, stride=stride)
        masks = torch.zeros_like(inside)
        accepted = torch.zeros_like(labels, dtype=torch.bool)
        scores = boxes.new_zeros(labels.shape)
        # The host has to know the sizes; every other wait below is the assignment's.
        contents = _content_sizes(batch["image_mask"])
        seen = [fitted(content, *settings.input_size) for content in contents]
        outputs = teacher(_resized(image, contents, seen))
        found = teacher.candidates(outputs, score_threshold=settings.score_threshold)
        for b, (candidates, content, own) in enumerate(zip(found, contents, seen, strict=True)):
            real = ((labels[b] > 0) & has_area(boxes[b])).nonzero().squeeze(1)
            back = boxes.new_tensor([content[1] / own[1], content[0] / own[0]] * 2)
            candidates = candidates._replace(boxes=candidates.boxes * back)
            overlap, same = _overlap(boxes[b, real], labels[b, real], candidates)
            useful = (same & (overlap >= settings.min_iou)).any(dim=0).nonzero().squeeze(1)
            if len(useful) == 0:
                continue
            location = candidates.location[useful]
            logits = teacher.masks(outputs, image=torch.full_like(location, b), location=location).logits
            full = paste_masks(logits, upsampling=stride, resized=own, original=content)
            full = F.pad(full, (0, size[1] - content[1], 0, size[0] - content[0]))
            grid = sampled(full, stride)
            depth = overlap.new_zeros(len(useful))
            if similarity is not None:
                depth = depth_agreement(grid, similarity[b], threshold=depth_threshold, dilation=dilation)
            chosen, score = match(
                overlap[:, useful],
                same_class=same[:, useful],
                depth=depth,
                confidence=candidates.scores[useful],
                alpha=settings.alpha,
                beta=settings.beta,
                min_iou=settings.min_iou,
            )
            scores[b, real] = score.to(scores.dtype)
            cut = grid[chosen.clamp(min=0)] & inside[b, real]
            taken = (chosen >= 0) & (score > settings.threshold) & cut.flatten(1).any(dim=1)
            accepted[b, real] = taken
            masks[b, real] = cut & taken[:, None, None]
        return TeacherMasks(masks, accepted, scores, stride)


def fitted(size: tuple[int, int], short_side: int, long_side: int) -> tuple[int, int]:
    """Height and width of an image in its own proportions, with that shorter side unless the longer grows too long."""
    factor = min(short_side / min(size), long_side / max(size))
    return max(round(size[0] * factor), 1), max(round(size[1] * factor), 1)


def _content_sizes(image_mask: Tensor) -> list[tuple[int, int]]:
    rows = image_mask.any(dim=3).sum(dim=(1, 2))
    columns = image_mask.any(dim=2).sum(dim=(1, 2))
    return [(int(height), int(width)) for height, width in torch.stack((rows, columns), dim=1).tolist()]


def _resized(image: Tensor, contents: list[tuple[int, int]], sizes: list[tuple[int, int]]) -> Tensor:
    """Each image's content at its new size, padded together to multiples of 32."""
    height, width = (-(-max(size[k] for size in sizes) // SIZE_DIVISOR) * SIZE_DIVISOR for k in (0, 1))
    batch = image.new_zeros(len(image), 3, height, width)
    for b, (content, size) in enumerate(zip(contents, sizes, strict=True)):
        part = image[b : b + 1, :, : content[0], : content[1]]
        if size != content:
            part = F.interpolate(part, size=size, mode="bilinear", align_corners=False, antialias=True)
        batch[b, :, : size[0], : size[1]] = part[0]
    return batch


def _overlap(boxes: Tensor, labels: Tensor, candidates: Candidates) -> tuple[Tensor, Tensor]:
    """IoU ``(N, M)`` of true and predicted boxes, and whether their classes agree."""
    return box_iou(boxes, candidates.boxes.to(boxes.dtype)), labels[:, None] == candidates.labels[None]
