"""COCO's average precision of recorded images, by faster-coco-eval: ``ap``, ``ap50``, ``ap75`` and three sizes.

``ap`` is the mean over classes and over the IoU thresholds 0.50, 0.55, ..., 0.95 of the average precision, as
pycocotools computes it (at most 100 detections an image). ``ap50`` and ``ap75`` are at one threshold; ``ap_small``,
``ap_medium`` and ``ap_large`` are over objects of up to 32^2, up to 96^2 and more pixels.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

AREAS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""COCO's sizes of objects, in pixels."""

IGNORED_AREA = -1.0
"""Area of ignored objects: COCO ignores objects outside the scored range of sizes."""

Record = dict[str, Any]
"""The data of one image that average precision is computed from, of plain JSON types.

``size`` (height, width); of the true objects ``boxes``, ``labels``, ``crowd``, ``areas``, ``masks`` (run lengths, or
None for an image without) and ``unmasked``; of the detections ``found_boxes``, ``found_labels``, ``scores``,
``found_masks``, ``found_areas``, and ``cut_masks`` and ``cut_areas`` for masks that are cut to their boxes.
"""

Kind = Literal["mask", "cut", "box"]
"""What detections are compared by: masks, masks cut to their predicted boxes, or boxes."""


def average_precision(records: Sequence[Record], *, kind: Kind) -> dict[str, float]:
    """COCO's average precision of recorded images.

    Args:
        records: The images; those without masks are left out unless boxes are compared.
        kind: What is compared.

    Returns:
        Values by the names of this module; NaN without true objects.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    masked = kind != "box"
    if masked:
        records = [record for record in records if record["masks"] is not None]
    known = {label for record in records for label in (*record["labels"], *record["found_labels"])}
    names = ["ap", "ap50", "ap75", *(f"ap_{name}" for name in AREAS)]
    if not any(record["labels"] for record in records):
        return dict.fromkeys(names, float("nan"))
    images = [
        {"id": position, "height": record["size"][0], "width": record["size"][1]}
        for position, record in enumerate(records, start=1)
    ]
    categories = [{"id": label, "name": str(label)} for label in sorted(known)]
    found = "cut_" if kind == "cut" else "found_"
    sides: list[Any] = []
    for prefix in ("", "found_"):
        annotations: list[dict[str, Any]] = []
        for position, record in enumerate(records, start=1):
            for k, label in enumerate(record[f"{prefix}labels"]):
                annotation: dict[str, Any] = {"id": len(annotations) + 1, "image_id": position, "category_id": label}
                if prefix:
                    annotation["iscrowd"] = 0
                else:
                    annotation["iscrowd"] = int(record["crowd"][k] or (masked and record["unmasked"][k]))
                x1, y1, x2, y2 = record[f"{prefix}boxes"][k]
                annotation["bbox"] = [x1, y1, x2 - x1, y2 - y1]
                if masked:
                    annotation["segmentation"] = record[f"{found}masks" if prefix else "masks"][k]
                if prefix:
                    annotation["score"] = record["scores"][k]
                    annotation["area"] = record[f"{found}areas"][k] if masked else (x2 - x1) * (y2 - y1)
                else:
                    annotation["area"] = record["areas"][k]
                annotations.append(annotation)
        sides.append(COCO({"images": images, "categories": categories, "annotations": annotations}))
    evaluation = COCOeval_faster(*sides, iouType="segm" if masked else "bbox")
    evaluation.params.maxDets = [100]
    evaluation.params.areaRng = [[0.0, 1e10], *(list(limits) for limits in AREAS.values())]
    evaluation.params.areaRngLbl = ["all", *AREAS]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0]  # thresholds, recalls, classes, sizes; -1 where nothing is true
    return {
        "ap": _mean(precision[..., 0]),
        "ap50": _mean(precision[0, ..., 0]),
        "ap75": _mean(precision[5, ..., 0]),
        **{f"ap_{name}": _mean(precision[..., k]) for k, name in enumerate(AREAS, start=1)},
    }


def _mean(precision: np.ndarray) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


def only_flagged(record: Record, flags: Sequence[bool]) -> Record:
    """The record in which objects without the flag are ignored."""
    pairs = zip(record["areas"], flags, strict=True)
    return {**record, "areas": [area if flag else IGNORED_AREA for area, flag in pairs]}
