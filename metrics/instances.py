"""Scores of instance segmentation: COCO's average precision, and mask quality inside the true boxes.

    {mask,box}_ap            mean over classes and over the IoU thresholds 0.50, 0.55, ..., 0.95 of the average
                             precision, as pycocotools computes it (at most 100 detections an image)
    {mask,box}_ap50, _ap75   the same at one threshold
    {mask,box}_ap_small, _medium, _large   the same over objects of up to 32^2, up to 96^2 and more pixels
    {mask,box}_ap_SUBSET     the same over flagged objects; the others are ignored objects of COCO
    mask_iou                 mean over true objects of the best IoU of any detection's mask inside the true box, for any
                             class and score: mask quality independent of detection
    boundary_f               mean over true objects of F1 of the boundary of that best mask, within a distance
    mask_iou_SUBSET, boundary_f_SUBSET     the means over flagged objects

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

from metrics.edges import truncated_distance

AREAS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""COCO's sizes of objects, in pixels."""

PADDING_ID = -1
"""``image_id`` of a padding sample of a rank."""

_LENGTH_BYTES = 8
_IGNORED_AREA = -1.0
"""Area of ignored objects: COCO ignores objects outside the scored range of sizes."""

Record = dict[str, Any]
"""The data of one image that average precision is computed from, of plain JSON types."""


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


def average_precision(records: Sequence[Record], *, kind: str) -> dict[str, float]:
    """COCO's average precision of recorded images.

    Args:
        records: See :meth:`InstanceMetrics.update`; images without masks are left out of that of masks.
        kind: ``mask`` or ``box``.

    Returns:
        Values by the names of this module, without the flagged subset; NaN without true objects.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    if kind == "mask":
        records = [record for record in records if record["masks"] is not None]
    known = {label for record in records for label in (*record["labels"], *record["found_labels"])}
    names = ["ap", "ap50", "ap75", *(f"ap_{name}" for name in AREAS)]
    if not any(record["labels"] for record in records):
        return dict.fromkeys((f"{kind}_{name}" for name in names), float("nan"))
    images = [
        {"id": position, "height": record["size"][0], "width": record["size"][1]}
        for position, record in enumerate(records, start=1)
    ]
    categories = [{"id": label, "name": str(label)} for label in sorted(known)]
    sides: list[Any] = []
    for prefix in ("", "found_"):
        annotations: list[dict[str, Any]] = []
        for position, record in enumerate(records, start=1):
            for k, label in enumerate(record[f"{prefix}labels"]):
                annotation: dict[str, Any] = {"id": len(annotations) + 1, "image_id": position, "category_id": label}
                if prefix:
                    annotation["iscrowd"] = 0
                else:
                    annotation["iscrowd"] = int(record["crowd"][k] or (kind == "mask" and record["unmasked"][k]))
                x1, y1, x2, y2 = record[f"{prefix}boxes"][k]
                annotation["bbox"] = [x1, y1, x2 - x1, y2 - y1]
                if kind == "mask":
                    annotation["segmentation"] = record[f"{prefix}masks"][k]
                if prefix:
                    annotation["score"] = record["scores"][k]
                    annotation["area"] = record["found_areas"][k] if kind == "mask" else (x2 - x1) * (y2 - y1)
                else:
                    annotation["area"] = record["areas"][k]
                annotations.append(annotation)
        sides.append(COCO({"images": images, "categories": categories, "annotations": annotations}))
    evaluation = COCOeval_faster(*sides, iouType="segm" if kind == "mask" else "bbox")
    evaluation.params.maxDets = [100]
    evaluation.params.areaRng = [[0.0, 1e10], *(list(limits) for limits in AREAS.values())]
    evaluation.params.areaRngLbl = ["all", *AREAS]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0]  # thresholds, recalls, classes, sizes; -1 where nothing is true
    return {
        f"{kind}_ap": _mean(precision[..., 0]),
        f"{kind}_ap50": _mean(precision[0, ..., 0]),
        f"{kind}_ap75": _mean(precision[5, ..., 0]),
        **{f"{kind}_ap_{name}": _mean(precision[..., k]) for k, name in enumerate(AREAS, start=1)},
    }


def _mean(precision: np.ndarray) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


class InstanceMetrics(Metric):
    """Average precision and mask quality, accumulated over batches and ranks.

    Ranks may have different numbers of images, but each has to be updated at least once, if only with padding. Masks
    are kept as run lengths in text, a few kB for an image.

    Args:
        subset: Key of the flags that mark a subset of the true objects, such as ``camouflaged``; None for none.
        boundary_tolerance_px: Tolerance of ``boundary_f``, pixels of the original image.

    Raises:
        ValueError: if the tolerance is not positive.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    records: list[Tensor] | Tensor
    in_boxes: Tensor

    def __init__(self, *, subset: str | None = None, boundary_tolerance_px: float = 2.0) -> None:
        super().__init__()
        if boundary_tolerance_px <= 0:
            raise ValueError(f"boundary_tolerance_px is {boundary_tolerance_px}, but it must be positive.")
        self.subset = subset
        self.boundary_tolerance_px = boundary_tolerance_px
        self.add_state("records", [], dist_reduce_fx="cat")
        # Rows: all objects, flagged objects. Columns: sum and number of IoUs, sum and number of boundary scores.
        self.add_state("in_boxes", torch.zeros(2, 4, dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        detections: Sequence[Mapping[str, Any]],
        *,
        truths: Sequence[Mapping[str, Any] | None],
        image_ids: Tensor | Sequence[int],
    ) -> None:
        """Add images.

        Args:
            detections: For each image ``boxes`` ``(M, 4)`` xyxy pixels of the original image, ``labels`` ``(M,)`` from
                1, ``scores`` ``(M,)`` and ``masks`` bool ``(M, H, W)`` at the original size.
            truths: For each image ``boxes``, ``labels``, ``crowd``, ``ignored``, ``area`` and ``masks`` (a list of run
                lengths, or None), where some are not known ``unmasked``, and the flags of the subset; None for a sample
                that is padding.
            image_ids: The id of each image; ``PADDING_ID`` for padding.

        Raises:
            ValueError: if the numbers of images differ, a padding sample has a truth or another one has none, the
                detections are not at the original size, or the truths lack the flags of the subset.
        """
        numbers = [int(number) for number in image_ids]
        if not len(detections) == len(truths) == len(numbers):
            raise ValueError(
                f"There are {len(detections)} images with detections, {len(truths)} truths and {len(numbers)} ids."
            )
        records: list[Tensor] = self.records  # type: ignore[assignment]  # a tensor only once it is synchronised
        for found, truth, number in zip(detections, truths, numbers, strict=True):
            if (truth is None) != (number == PADDING_ID):
                raise ValueError(f"The image {number} comes with{'out' if truth is None else ''} a truth.")
            if truth is not None:
                if self.subset is not None and self.subset not in truth:
                    raise ValueError(
                        f"subset is {self.subset!r}, but the truth of the image {number} has no such flags: set it to "
                        "null."
                    )
                records.append(self._packed(self._record(found, truth, number)))
                self._add_in_boxes(found, truth)
        if not records:  # ranks exchange their records, and each needs a tensor of this type
            records.append(torch.zeros(0, dtype=torch.uint8, device=self.device))

    def compute(self) -> dict[str, Tensor]:
        """Scores of everything added so far; see the module. Values are float64 scalars in [0, 1]."""
        records = sorted(_unpacked(dim_zero_cat(self.records)), key=lambda record: int(record["image_id"]))
        values = average_precision(records, kind="mask") | average_precision(records, kind="box")
        if self.subset is not None:
            flagged = [_only_flagged(record) for record in records]
            for kind in ("mask", "box"):
                values[f"{kind}_ap_{self.subset}"] = average_precision(flagged, kind=kind)[f"{kind}_ap"]
        scores = {name: torch.tensor(value, dtype=torch.float64, device=self.device) for name, value in values.items()}
        suffixes = ("", None if self.subset is None else f"_{self.subset}")
        for suffix, (iou, n_iou, boundary, n_boundary) in zip(suffixes, self.in_boxes, strict=True):
            if suffix is not None:
                scores[f"mask_iou{suffix}"] = iou / n_iou
                scores[f"boundary_f{suffix}"] = boundary / n_boundary
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
        encoded: list[dict[str, Any]] = []
        if len(masks) > 0:
            encoded = coco_masks.encode(np.asfortranarray(masks.permute(1, 2, 0).to("cpu", torch.uint8).numpy()))
        flags = torch.zeros_like(truth["crowd"]) if self.subset is None else truth[self.subset]
        unmasked = _unmasked(truth).tolist()
        masks_of_truth: list[dict[str, Any]] | None = None
        if truth["masks"] is not None:
            masks_of_truth = [
                _as_text(_filled_box(box, size) if unknown else mask)
                for mask, box, unknown in zip(truth["masks"], truth["boxes"].tolist(), unmasked, strict=True)
            ]
        areas = torch.where(truth["ignored"], _IGNORED_AREA, truth["area"])
        return {
            "image_id": number,
            "size": list(size),
            "boxes": truth["boxes"].tolist(),
            "labels": truth["labels"].tolist(),
            "crowd": truth["crowd"].int().tolist(),
            "areas": areas.tolist(),
            "flags": flags.tolist(),
            "masks": masks_of_truth,
            "unmasked": unmasked,
            "found_boxes": found["boxes"].tolist(),
            "found_labels": found["labels"].tolist(),
            "scores": found["scores"].tolist(),
            "found_masks": [_as_text(mask) for mask in encoded],
            "found_areas": coco_masks.area(encoded).tolist() if encoded else [],
        }

    def _packed(self, record: Record) -> Tensor:
        text = json.dumps(record, separators=(",", ":")).encode()
        content = len(text).to_bytes(_LENGTH_BYTES, "big") + text
        return torch.frombuffer(bytearray(content), dtype=torch.uint8).to(self.device)

    def _add_in_boxes(self, found: Mapping[str, Any], truth: Mapping[str, Any]) -> None:
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
        flags = torch.zeros_like(scored) if self.subset is None else truth[self.subset].cpu()
        sums = []
        for rows in (torch.ones_like(iou, dtype=torch.bool), flags[scored].to(iou.device)):
            known = rows & ~edge.isnan()
            sums.append(torch.stack([iou[rows].sum(), rows.sum(), edge[known].sum(), known.sum()]))
        self.in_boxes = self.in_boxes + torch.stack(sums).to(self.in_boxes.device)


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


def _only_flagged(record: Record) -> Record:
    """The record in which objects without the flag are ignored."""
    pairs = zip(record["areas"], record["flags"], strict=True)
    return {**record, "areas": [area if flag else _IGNORED_AREA for area, flag in pairs]}
