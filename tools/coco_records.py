"""Records of a COCO-format JSON file, written by several tools."""

from collections.abc import Mapping, Sequence
from typing import Any


def annotation_record(
    number: int,
    *,
    image: int,
    category: int,
    box_xywh: Sequence[float],
    area: float,
    crowd: bool,
    mask: Mapping[str, Any],
) -> dict[str, Any]:
    """One entry of ``annotations``.

    Args:
        number: Id of the annotation.
        image: Id of its image.
        category: Id of its category.
        box_xywh: Left, top, width and height, pixels.
        area: Area of the mask, pixels.
        crowd: Whether it is a group of objects, which COCO's evaluation ignores.
        mask: Run lengths as COCO's library encodes them: ``size`` (height, width) and ``counts`` (bytes).
    """
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": list(box_xywh),
        "area": area,
        "iscrowd": int(crowd),
        "segmentation": {"size": [int(side) for side in mask["size"]], "counts": mask["counts"].decode("ascii")},
    }


def category_records(names: Mapping[int, str]) -> list[dict[str, Any]]:
    """The entries of ``categories``, from names by id."""
    return [{"id": number, "name": name} for number, name in names.items()]
