"""Self-distillation: a teacher whose weights average the student's, and the pseudo masks that it makes from boxes.

"Boosting Box-supervised Instance Segmentation with Pseudo Depth", https://arxiv.org/abs/2403.01214. The paper gives the
form of the matching score and the bipartite assignment. Its constants and its start are not published; those here are
this project's.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from geometry.boxes import box_masks, has_area
from geometry.masks import sample_at_stride
from geometry.stencils import fill_outside
from lightning_modules.boxinst_depth.teacher_matching import depth_agreement, match
from lightning_modules.schedules import linear_ramp
from networks.condinst import CondInst
from networks.condinst_inference import Candidates, paste_masks
from networks.ema import EMATeacher
from structures.instances import SIZE_DIVISOR, InstanceBatch

Size = tuple[int, int]


class PseudoMasks(NamedTuple):
    """The masks that a teacher gives for the boxes of a batch."""

    masks: Tensor
    """bool ``(B, N, h, w)``, cropped to the box; all False where none was accepted."""
    accepted: Tensor
    """bool ``(B, N)``."""
    score: Tensor
    """``(B, N)``, matching score of each box; 0 without a match."""
    stride: int
    """Pixels of the image a cell of the masks."""

    def statistics(self, batch: InstanceBatch) -> dict[str, Tensor]:
        """Accepted masks an image, their share of the boxes, and their mean IoU with the ground truth if there is some.

        Args:
            batch: The batch of the masks. Ground-truth masks are used where ``has_masks`` allows it, for the log alone.

        Returns:
            Scalars ``masks_per_image``, ``acceptance`` and, with ground-truth masks, ``true_iou`` (NaN where none of
            the accepted masks has ground truth).
        """
        n_accepted, n_boxes = self.accepted.sum(), (batch["labels"] > 0).sum()
        values = {"masks_per_image": n_accepted / len(self.masks), "acceptance": n_accepted / n_boxes.clamp(min=1)}
        if "masks" in batch:
            compared = self.accepted & batch["has_masks"].unsqueeze(1)
            truth = sample_at_stride(batch["masks"], self.stride)
            both, either = (self.masks & truth).sum(dim=(2, 3)), (self.masks | truth).sum(dim=(2, 3))
            values["true_iou"] = fill_outside(both / either.clamp(min=1), compared).sum() / compared.sum()
        return values


@dataclass(frozen=True)
class SelfDistillation:
    """Settings of the teacher and of its pseudo masks.

    Args:
        input_size: Shorter side of the teacher's images, and limit of the longer one, pixels. It is fixed, whereas the
            size of the student's images varies. The paper's is 800.
        start: Part of the training after which pseudo masks are used; until then the teacher has the student's weights.
        ramp: Part of the training over which the weight of the term then rises from zero.
        momentum: Share of the old weights in the moving average, once it has run long enough.
        alpha: Weight of the IoU of boxes in the matching score.
        beta: Weight of the depth agreement; the rest is the weight of the teacher's confidence.
        threshold: Matches with a larger score are accepted.
        min_iou: Least IoU of a predicted box with the ground-truth box.
        score_threshold: Least class probability times quality of the teacher's predictions.

    Raises:
        ValueError: If a number is out of its range.
    """

    input_size: Size = (800, 1333)
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
        """Factor of the distillation term at a part of the training: 0 before the start, then a linear ramp to 1."""
        return linear_ramp(progress, start=self.start, length=self.ramp)


class MaskTeacher(EMATeacher):
    """The moving average of a student, which makes pseudo masks for boxes.

    Args:
        student: The network.
        settings: Settings of the teacher and of its pseudo masks.
    """

    model: CondInst

    def __init__(self, student: CondInst, settings: SelfDistillation) -> None:
        super().__init__(student, settings.momentum)
        self.settings = settings

    @torch.no_grad()
    def pseudo_masks(
        self, batch: InstanceBatch, similarity: Tensor | None, *, depth_threshold: float, dilation: int
    ) -> PseudoMasks:
        """Predict instances at the teacher's input size and match them to the boxes of the batch.

        Args:
            batch: Images, the mask of their content without padding, boxes and labels.
            similarity: ``(B, 8, h, w)``, depth similarity of neighbours on the grid of the masks; None only with
                ``beta`` 0.
            depth_threshold: A pair of neighbours has similar depth where its similarity exceeds this.
            dilation: Distance of neighbours, the same as for the similarity.

        Returns:
            Masks on the grid of the student's mask targets, ``h = H / mask_stride``.

        Raises:
            ValueError: If ``beta`` is positive and there is no pseudo depth.
        """
        teacher, settings = self.model, self.settings
        boxes, labels = batch["boxes"], batch["labels"]
        if similarity is None and settings.beta > 0:
            raise ValueError("the teacher's masks are matched by depth (beta > 0), but the batch has no pseudo depth")
        size, stride = (batch["image"].shape[-2], batch["image"].shape[-1]), teacher.mask_stride
        inside = box_masks(boxes, size, stride=stride)
        result = PseudoMasks(
            torch.zeros_like(inside), torch.zeros_like(labels, dtype=torch.bool), boxes.new_zeros(labels.shape), stride
        )
        # Sizes are needed on the host; after this the host waits for the device only in the assignment.
        contents = content_sizes(batch["image_mask"])
        resized = [size_within(content, *settings.input_size) for content in contents]
        outputs = teacher(resize_contents(batch["image"], contents, resized))
        predictions = teacher.candidates(outputs, score_threshold=settings.score_threshold)
        for b, (candidates, content, own) in enumerate(zip(predictions, contents, resized, strict=True)):
            real = ((labels[b] > 0) & has_area(boxes[b])).nonzero().squeeze(1)
            back = boxes.new_tensor([content[1] / own[1], content[0] / own[0]] * 2)
            candidates = candidates._replace(boxes=candidates.boxes * back)
            overlap, same_class = _overlap(boxes[b, real], labels[b, real], candidates)
            useful = (same_class & (overlap >= settings.min_iou)).any(dim=0).nonzero().squeeze(1)
            if len(useful) == 0:
                continue
            location = candidates.location[useful]
            logits = teacher.masks(outputs, image=torch.full_like(location, b), location=location).logits
            full = paste_masks(logits, upsampling=stride, resized=own, original=content)
            masks = sample_at_stride(F.pad(full, (0, size[1] - content[1], 0, size[0] - content[0])), stride)
            depth = overlap.new_zeros(len(useful))
            if similarity is not None:
                depth = depth_agreement(masks, similarity[b], threshold=depth_threshold, dilation=dilation)
            chosen, score = match(
                overlap[:, useful],
                same_class=same_class[:, useful],
                depth=depth,
                confidence=candidates.scores[useful],
                alpha=settings.alpha,
                beta=settings.beta,
                min_iou=settings.min_iou,
            )
            cropped = masks[chosen.clamp(min=0)] & inside[b, real]
            accepted = (chosen >= 0) & (score > settings.threshold) & cropped.flatten(1).any(dim=1)
            result.score[b, real] = score.to(boxes.dtype)
            result.accepted[b, real] = accepted
            result.masks[b, real] = cropped & accepted[:, None, None]
        return result


def size_within(size: Size, short_side: int, long_side: int) -> Size:
    """Height and width of an image resized to a shorter side, or to the limit of its longer side if that is smaller.

    Args:
        size: Height and width of the image.
        short_side: Wanted length of the shorter side, pixels.
        long_side: Largest length of the longer side, pixels.
    """
    factor = min(short_side / min(size), long_side / max(size))
    return max(round(size[0] * factor), 1), max(round(size[1] * factor), 1)


def content_sizes(image_mask: Tensor) -> list[Size]:
    """Height and width of the images of a batch without their padding.

    Args:
        image_mask: bool ``(B, 1, H, W)``, True on the content, which starts at the top-left corner.
    """
    rows = image_mask.any(dim=3).sum(dim=(1, 2))
    columns = image_mask.any(dim=2).sum(dim=(1, 2))
    return [(int(height), int(width)) for height, width in torch.stack((rows, columns), dim=1).tolist()]


def resize_contents(image: Tensor, contents: list[Size], sizes: list[Size]) -> Tensor:
    """Each image's content at its new size, padded together to multiples of 32.

    Args:
        image: ``(B, 3, H, W)``.
        contents: Height and width of each image without padding.
        sizes: Its new height and width.
    """
    height, width = (-(-max(size[k] for size in sizes) // SIZE_DIVISOR) * SIZE_DIVISOR for k in (0, 1))
    batch = image.new_zeros(len(image), 3, height, width)
    for b, (content, size) in enumerate(zip(contents, sizes, strict=True)):
        part = image[b : b + 1, :, : content[0], : content[1]]
        if size != content:
            part = F.interpolate(part, size=size, mode="bilinear", align_corners=False, antialias=True)
        batch[b, :, : size[0], : size[1]] = part[0]
    return batch


def _overlap(boxes: Tensor, labels: Tensor, candidates: Candidates) -> tuple[Tensor, Tensor]:
    """IoU ``(N, M)`` of ground-truth and predicted boxes, and whether their classes agree."""
    return box_iou(boxes, candidates.boxes.to(boxes.dtype)), labels[:, None] == candidates.labels[None]
