"""Scores of instance segmentation: COCO's average precision, and mask quality at the true objects.

    {mask,box}_ap            average precision, see :mod:`metrics.average_precision`; also _ap50, _ap75, and _ap_small,
                             _ap_medium, _ap_large
    mask_ap_cut, mask_ap50_cut, mask_ap75_cut   of masks that are cut to their predicted boxes
    {mask,box}_ap_SUBSET     the same over flagged objects; the others are ignored objects of COCO
    mask_iou                 mean over true objects of the best IoU of any detection's mask inside the true box, for any
                             class and score: mask quality independent of detection, blind to what is outside the box
    object_iou               mean over true objects of the IoU of the whole mask that is predicted at the object's best
                             location, independent of detection; a mask that extends beyond its box scores less
    boundary_f               mean over true objects of F1 of the boundary of mask_iou's best mask, within a distance
    {mask_iou,object_iou,boundary_f}_SUBSET     the means over flagged objects

All are better when higher and NaN without true objects. Crowds and ignored objects enter average precision only, as
COCO defines it. For masks, an object or crowd without a known mask is a crowd that fills its box: missing it is no
false negative, and a mask inside it is no false positive.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from geometry.boxes import box_masks
from geometry.stencils import fill_outside
from metrics.average_precision import IGNORED_AREA, Kind, Record, average_precision, only_flagged
from metrics.edges import truncated_distance

PADDING_ID = -1
"""``image_id`` of a padding sample of a rank."""

_LENGTH_BYTES = 8

KINDS: tuple[Kind, ...] = ("mask", "box")
_SUMS = ("mask_iou", "boundary_f", "object_iou")
"""Means over objects, each kept as a sum and a number."""


def best_masks_in_boxes(candidates: Tensor, *, target: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """For each true object the candidate with the best IoU inside the true box.

    Args:
        candidates: bool ``(M, H, W)``.
        target: bool ``(N, H, W)``.
        boxes: ``(N, 4)`` xyxy pixels; a box covers every pixel that it touches.

    Returns:
        float64 ``(N,)`` IoU of both masks inside the box, and int64 ``(N,)`` index of the candidate; 0 and -1 without
        any.

    Raises:
        ValueError: if the sizes of the masks or the numbers of objects differ.
    """
    if candidates.shape[1:] != target.shape[1:] or boxes.shape != (len(target), 4):
        raise ValueError(
            f"Candidates {tuple(candidates.shape)}, target {tuple(target.shape)} and boxes {tuple(boxes.shape)} are "
            "not (M, H, W), (N, H, W) and (N, 4)."
        )
    iou = torch.zeros(len(target), dtype=torch.float64, device=target.device)
    best = torch.full((len(target),), -1, dtype=torch.int64, device=target.device)
    if len(candidates) == 0:
        return iou, best
    for i, (rows, columns) in enumerate(_windows(boxes, target.shape[1:])):
        inside, truth = candidates[:, rows, columns].flatten(1), target[i, rows, columns].flatten()
        both = (inside & truth).sum(dim=1)
        either = (inside | truth).sum(dim=1)
        ratio = torch.where(either > 0, both.double() / either.clamp(min=1), 0.0)
        iou[i], best[i] = ratio.max(dim=0)
    return iou, best


def boundary_f(prediction: Tensor, *, target: Tensor, boxes: Tensor, tolerance_px: float = 2.0) -> Tensor:
    """F1 of the boundaries of pairs of masks, both restricted to the box of the true object.

    A boundary pixel belongs to its mask and has a 4-neighbour that does not; the border of the image is no boundary,
    that of the box is. A pixel counts as found if the other boundary has one within the tolerance (Euclidean).

    Args:
        prediction: bool ``(N, H, W)``.
        target: bool ``(N, H, W)``.
        boxes: ``(N, 4)`` xyxy pixels.
        tolerance_px: largest distance between matching boundary pixels.

    Returns:
        float64 ``(N,)``: ``2 P R / (P + R)``, 0 if no pixels match, NaN if the target has no boundary.
    """
    scores = torch.full((len(target),), float("nan"), dtype=torch.float64, device=target.device)
    height, width = target.shape[1:]
    for i, (rows, columns) in enumerate(_windows(boxes, (height, width))):
        # One pixel of padding, so that the border of the box is a boundary; none at the border of the image.
        margin = (int(columns.start > 0), int(columns.stop < width), int(rows.start > 0), int(rows.stop < height))
        pair = torch.stack([prediction[i, rows, columns], target[i, rows, columns]]).unsqueeze(1)
        edges = _boundary(F.pad(pair, margin))
        if not edges[1].any():
            continue
        distance = truncated_distance(edges, max_distance_px=tolerance_px + 1)
        n_predicted, n_true = edges.flatten(1).sum(dim=1).double()
        precision = (edges[0] & (distance[1] <= tolerance_px)).sum() / n_predicted.clamp(min=1)
        recall = (edges[1] & (distance[0] <= tolerance_px)).sum() / n_true
        scores[i] = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    return scores


def _windows(boxes: Tensor, size: Sequence[int]) -> list[tuple[slice, slice]]:
    """Rows and columns that each box touches."""
    windows = []
    for x1, y1, x2, y2 in boxes.double().tolist():
        rows = slice(max(int(np.floor(y1)), 0), min(int(np.ceil(y2)), size[0]))
        columns = slice(max(int(np.floor(x1)), 0), min(int(np.ceil(x2)), size[1]))
        windows.append((rows, columns))
    return windows


def _boundary(masks: Tensor) -> Tensor:
    """Pixels of masks ``(B, 1, H, W)`` with a 4-neighbour inside the map that is not in the mask."""
    outside = F.pad((~masks).to(torch.float32), (1, 1, 1, 1))
    beside = outside[..., 1:-1, 2:] + outside[..., 1:-1, :-2] + outside[..., 2:, 1:-1] + outside[..., :-2, 1:-1]
    return masks & (beside > 0)


class InstanceMetrics(Metric):
    """Average precision and mask quality, accumulated over batches and ranks.

    Ranks may have different numbers of images, but each has to be updated at least once, if only with padding. Masks
    are kept as run lengths in text, a few kB for an image.

    Args:
        subsets: Keys of the flags that mark subsets of the true objects, such as ``camouflaged``.
        boundary_tolerance_px: Tolerance of ``boundary_f``, pixels of the original image.

    Raises:
        ValueError: if the tolerance is not positive.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    records: list[Tensor] | Tensor
    of_objects: Tensor

    def __init__(self, *, subsets: Sequence[str] = (), boundary_tolerance_px: float = 2.0) -> None:
        super().__init__()
        if boundary_tolerance_px <= 0:
            raise ValueError(f"boundary_tolerance_px is {boundary_tolerance_px}, but it must be positive.")
        self.subsets = tuple(subsets)
        self.boundary_tolerance_px = boundary_tolerance_px
        self.add_state("records", [], dist_reduce_fx="cat")
        # Rows: all objects, each subset. Columns: means of _SUMS. Last dimension: sum and number.
        sums = torch.zeros(1 + len(self.subsets), len(_SUMS), 2, dtype=torch.float64)
        self.add_state("of_objects", sums, dist_reduce_fx="sum")

    def leave_out_subsets(self) -> None:
        """Score no subset from now on, as the data have no flags."""
        self.subsets = ()

    def update(
        self,
        detections: Sequence[Mapping[str, Any]],
        *,
        truths: Sequence[Mapping[str, Any] | None],
        image_ids: Tensor | Sequence[int],
        at_objects: Sequence[Mapping[str, Tensor] | None] | None = None,
    ) -> None:
        """Add images.

        Args:
            detections: For each image ``boxes`` ``(M, 4)`` xyxy pixels of the original image, ``labels`` ``(M,)`` from
                1, ``scores`` ``(M,)`` and ``masks`` bool ``(M, H, W)`` at the original size.
            truths: For each image ``boxes``, ``labels``, ``crowd``, ``ignored``, ``area`` and ``masks`` (a list of run
                lengths, or None), where some are not known ``unmasked``, and the flags of the subsets; None for
                padding.
            image_ids: The id of each image; ``PADDING_ID`` for padding.
            at_objects: For each image ``index`` int64 ``(K,)``, rows of its truth, and ``masks`` bool ``(K, H, W)``
                predicted at their best locations, for ``object_iou``; objects that are absent are left out of it. None
                leaves it NaN.

        Raises:
            ValueError: if the numbers of images differ, a padding sample has a truth or another one has none, the
                detections are not at the original size, or the truths lack the flags of a subset.
        """
        numbers = [int(number) for number in image_ids]
        if not len(detections) == len(truths) == len(numbers):
            raise ValueError(
                f"There are {len(detections)} images with detections, {len(truths)} truths and {len(numbers)} ids."
            )
        records: list[Tensor] = self.records  # type: ignore[assignment]  # a tensor only once it is synchronised
        located = [None] * len(numbers) if at_objects is None else at_objects
        for found, truth, number, masks in zip(detections, truths, numbers, located, strict=True):
            if (truth is None) != (number == PADDING_ID):
                raise ValueError(f"The image {number} comes with{'out' if truth is None else ''} a truth.")
            if truth is not None:
                missing = [name for name in self.subsets if name not in truth]
                if missing:
                    raise ValueError(
                        f"subsets holds {missing[0]!r}, but the truth of the image {number} has no such flags: leave "
                        "it out."
                    )
                records.append(self._packed(self._record(found, truth, number)))
                self._add_objects(found, truth, masks)
        if not records:  # ranks exchange their records, and each needs a tensor of this type
            records.append(torch.zeros(0, dtype=torch.uint8, device=self.device))

    def compute(self) -> dict[str, Tensor]:
        """Scores of everything added so far; see the module. Values are float64 scalars in [0, 1]."""
        records = sorted(_unpacked(dim_zero_cat(self.records)), key=lambda record: int(record["image_id"]))
        values = {
            f"{kind}_{name}": value for kind in KINDS for name, value in average_precision(records, kind=kind).items()
        }
        cut = average_precision(records, kind="cut")
        values |= {f"mask_{name}_cut": cut[name] for name in ("ap", "ap50", "ap75")}
        for subset in self.subsets:
            flagged = [only_flagged(record, record["flags"][subset]) for record in records]
            for kind in KINDS:
                values[f"{kind}_ap_{subset}"] = average_precision(flagged, kind=kind)["ap"]
        scores = {name: torch.tensor(value, dtype=torch.float64, device=self.device) for name, value in values.items()}
        for row, subset in enumerate(("", *self.subsets)):
            for mean, (total, number) in zip(_SUMS, self.of_objects[row], strict=True):
                scores[f"{mean}_{subset}" if subset else mean] = total / number
        return scores

    def _record(self, found: Mapping[str, Any], truth: Mapping[str, Any], number: int) -> Record:
        from faster_coco_eval.core import mask as coco_masks

        masks = found["masks"]
        size = masks.shape[-2:]
        if truth["masks"] and tuple(truth["masks"][0]["size"]) != tuple(size):
            raise ValueError(
                f"The detections in the image {number} are masks of {tuple(size)} pixels, but the original image has "
                f"{tuple(truth['masks'][0]['size'])}."
            )
        encoded, cut = (_encoded(some) for some in (masks, masks & box_masks(found["boxes"], tuple(size))))
        unmasked = _unmasked(truth).tolist()
        masks_of_truth: list[dict[str, Any]] | None = None
        if truth["masks"] is not None:
            masks_of_truth = [
                _as_text(_filled_box(box, size) if unknown else mask)
                for mask, box, unknown in zip(truth["masks"], truth["boxes"].tolist(), unmasked, strict=True)
            ]
        areas = torch.where(truth["ignored"], IGNORED_AREA, truth["area"])
        return {
            "image_id": number,
            "size": list(size),
            "boxes": truth["boxes"].tolist(),
            "labels": truth["labels"].tolist(),
            "crowd": truth["crowd"].int().tolist(),
            "areas": areas.tolist(),
            "flags": {name: truth[name].tolist() for name in self.subsets},
            "masks": masks_of_truth,
            "unmasked": unmasked,
            "found_boxes": found["boxes"].tolist(),
            "found_labels": found["labels"].tolist(),
            "scores": found["scores"].tolist(),
            "found_masks": [_as_text(mask) for mask in encoded],
            "found_areas": coco_masks.area(encoded).tolist() if encoded else [],
            "cut_masks": [_as_text(mask) for mask in cut],
            "cut_areas": coco_masks.area(cut).tolist() if cut else [],
        }

    def _packed(self, record: Record) -> Tensor:
        text = json.dumps(record, separators=(",", ":")).encode()
        content = len(text).to_bytes(_LENGTH_BYTES, "big") + text
        return torch.frombuffer(bytearray(content), dtype=torch.uint8).to(self.device)

    def _add_objects(
        self, found: Mapping[str, Any], truth: Mapping[str, Any], located: Mapping[str, Tensor] | None
    ) -> None:
        from faster_coco_eval.core import mask as coco_masks

        if not truth["masks"]:
            return
        scored = ~(truth["crowd"] | truth["ignored"] | _unmasked(truth)).cpu()
        if not scored.any():
            return
        chosen = [mask for mask, counts in zip(truth["masks"], scored.tolist(), strict=True) if counts]
        target = torch.from_numpy(coco_masks.decode(chosen)).permute(2, 0, 1).bool().to(found["masks"].device)
        boxes = truth["boxes"].cpu()[scored]
        iou, best = best_masks_in_boxes(found["masks"], target=target, boxes=boxes)
        edge = torch.zeros_like(iou)
        if len(found["masks"]) > 0:
            edge = boundary_f(found["masks"][best], target=target, boxes=boxes, tolerance_px=self.boundary_tolerance_px)
        whole = _iou_at_objects(located, target=target, scored=scored).to(iou)
        sums = []
        for subset in (None, *self.subsets):
            rows = torch.ones_like(scored) if subset is None else truth[subset].cpu()
            values = torch.stack([iou, edge, whole])[:, rows[scored].to(iou.device)]
            known = ~values.isnan()
            sums.append(torch.stack([fill_outside(values, known).sum(dim=1), known.sum(dim=1)], dim=1))
        left_out = len(self.of_objects) - len(sums)
        self.of_objects = self.of_objects + F.pad(torch.stack(sums), (0, 0, 0, 0, 0, left_out)).to(self.of_objects)


def _iou_at_objects(located: Mapping[str, Tensor] | None, *, target: Tensor, scored: Tensor) -> Tensor:
    """IoU of the masks at the best locations of objects with the objects' masks, NaN where there is none.

    Args:
        located: ``index`` and ``masks`` of some of the true objects, see :meth:`InstanceMetrics.update`.
        target: bool ``(N, H, W)``, masks of the scored objects.
        scored: bool over all true objects, N of them True.
    """
    iou = torch.full((len(target),), float("nan"), dtype=torch.float64)
    if located is None:
        return iou
    index = located["index"].cpu()
    position = (scored.cumsum(dim=0) - 1)[index]
    for place, counts, mask in zip(position.tolist(), scored[index].tolist(), located["masks"], strict=True):
        if counts:
            iou[place] = (mask & target[place]).sum() / (mask | target[place]).sum().clamp(min=1)
    return iou


def _encoded(masks: Tensor) -> list[dict[str, Any]]:
    """Run lengths of bool masks ``(M, H, W)``."""
    from faster_coco_eval.core import mask as coco_masks

    if len(masks) == 0:
        return []
    encoded: list[dict[str, Any]] = coco_masks.encode(
        np.asfortranarray(masks.permute(1, 2, 0).to("cpu", torch.uint8).numpy())
    )
    return encoded


def _unmasked(truth: Mapping[str, Any]) -> Tensor:
    """Bool ``(N,)``, objects without a known mask."""
    flags: Tensor = truth.get("unmasked", torch.zeros_like(truth["crowd"]))
    return flags.to(truth["crowd"].device)


def _filled_box(box: Sequence[float], size: Sequence[int]) -> dict[str, Any]:
    """Run lengths of all pixels that an xyxy box covers."""
    from faster_coco_eval.core import mask as coco_masks

    x1, y1, x2, y2 = box
    encoded: dict[str, Any] = coco_masks.segmToRle([[x1, y1, x2, y1, x2, y2, x1, y2]], int(size[1]), int(size[0]))
    return encoded


def _as_text(mask: Mapping[str, Any]) -> dict[str, Any]:
    counts = mask["counts"]
    return {"size": list(mask["size"]), "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def _unpacked(content: Tensor) -> list[Record]:
    data = content.cpu().numpy().tobytes()
    records: list[Record] = []
    start = 0
    while start < len(data):
        length = int.from_bytes(data[start : start + _LENGTH_BYTES], "big")
        start += _LENGTH_BYTES
        records.append(json.loads(data[start : start + length]))
        start += length
    return records
