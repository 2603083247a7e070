"""A tiny COCO in its real layout: ``annotations/instances_{train,val}2017.json``, ``train2017/``, ``val2017/``."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

CATEGORIES = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "toothbrush"}]
"""With gaps between the ids, as COCO's own."""

SIZES = [(48, 64), (64, 48), (40, 40)]


def make_coco(root: Path, *, n_train: int = 6, n_val: int = 3, edit: Any = None) -> Path:
    """Write rectangles of the colour of their class, with polygons, as a COCO data set.

    Args:
        root: Folder to write into.
        n_train: Training images; the last one has no annotation.
        n_val: Validation images; the first one has a crowd, whose mask is in run lengths.
        edit: Called with (split, content) before a JSON is written, to break it.

    Returns:
        The root.
    """
    for split, count, first in (("train", n_train, 0), ("val", n_val, 100)):
        content: dict[str, Any] = {"images": [], "annotations": [], "categories": CATEGORIES}
        folder = root / f"{split}2017"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(first + 1, first + count + 1):
            generator = np.random.default_rng(number)
            height, width = SIZES[number % 3]
            pixels = generator.integers(0, 60, (height, width, 3)).astype(np.uint8)
            n_objects = 0 if (split, number) == ("train", n_train) else 2 + number % 2
            for k in range(n_objects):
                category = (number + k) % 3
                x, y = 3 + 12 * k, int(generator.integers(2, 8))
                w, h = int(generator.integers(6, 11)), int(generator.integers(10, 26))
                pixels[y : y + h, x : x + w] = np.eye(3)[category] * 255
                content["annotations"].append(
                    {
                        "id": 10 * number + k,
                        "image_id": number,
                        "category_id": CATEGORIES[category]["id"],
                        "bbox": [x, y, w, h],
                        "area": w * h,
                        "iscrowd": 0,
                        "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                    }
                )
            if (split, number) == ("val", 101):
                content["annotations"].append(crowd(10 * number + 9, number, (height, width)))
            name = f"{number:012d}.png"
            cv2.imwrite(str(folder / name), pixels[..., ::-1])
            content["images"].append({"id": number, "file_name": name, "height": height, "width": width})
        if edit is not None:
            edit(split, content)
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
    return root


def crowd(number: int, image_id: int, size: tuple[int, int]) -> dict[str, Any]:
    """An annotation of the rightmost ten columns as a crowd of persons, in plain run lengths."""
    height, width = size
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [width - 10, 0, 10, height],
        "area": 10 * height,
        "iscrowd": 1,
        "segmentation": {"size": [height, width], "counts": [(width - 10) * height, 10 * height]},
    }


def without_masks(_split: str, content: dict[str, Any]) -> None:
    """An edit that removes every mask from a file."""
    for annotation in content["annotations"]:
        del annotation["segmentation"]
