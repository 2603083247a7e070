"""Convert the fine annotations of Cityscapes to COCO format.

``python -m tools.cityscapes_to_coco --root data/cityscapes``

Reads ``gtFine/<split>/<city>/*_gtFine_instanceIds.png`` and writes ``annotations/instances_{train,val}.json``, whose
``file_name`` is relative to ``leftImg8bit/<split>``. An id of 1000 or more is an object (class * 1000 + number). The
bare id of one of the eight classes is a group whose objects were not annotated one by one; it becomes a crowd. Category
ids are the label ids of Cityscapes.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.files.reading import read_values
from datamodules.files.run_lengths import encode_masks
from structures.files import write_atomically
from structures.output_paths import check_folder
from tools.coco_records import annotation_record, category_records
from tools.command import plain_parser, run_tool

CLASSES = {
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
"""The eight classes with instance annotations, by label id."""

ENDING = "_gtFine_instanceIds.png"
FIRST_OBJECT = 1000


def convert(root: Path, split: str) -> dict[str, Any]:
    """Annotations of a split in COCO format, as written to its JSON file.

    Args:
        root: Folder with ``gtFine`` and ``leftImg8bit``.
        split: Name of a folder in both.

    Raises:
        FileNotFoundError: If there are no annotations, or an image is missing.
        ValueError: If a file is no 16-bit PNG.
    """
    folder = root / "gtFine" / split
    paths = sorted(folder.glob(f"*/*{ENDING}"))
    if not paths:
        raise FileNotFoundError(f"There is no */*{ENDING} in {folder}: unpack gtFine_trainvaltest.zip into {root}.")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, path in enumerate(paths, start=1):
        file_name = f"{path.parent.name}/{path.name.removesuffix(ENDING)}_leftImg8bit.png"
        if not (root / "leftImg8bit" / split / file_name).is_file():
            raise FileNotFoundError(
                f"There is no image {root / 'leftImg8bit' / split / file_name}: unpack leftImg8bit_trainvaltest.zip "
                f"into {root}."
            )
        ids = read_values(path).astype(np.int64)
        height, width = ids.shape
        images.append({"id": number, "file_name": file_name, "height": height, "width": width})
        for value in np.unique(ids).tolist():
            crowd = value < FIRST_OBJECT
            category = value if crowd else value // FIRST_OBJECT
            if category not in CLASSES:
                continue
            mask = ids == value
            y, x = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            (encoded,) = encode_masks(mask[None])
            annotations.append(
                annotation_record(
                    len(annotations) + 1,
                    image=number,
                    category=category,
                    box_xywh=[int(x[0]), int(y[0]), int(x[-1] - x[0]) + 1, int(y[-1] - y[0]) + 1],
                    area=int(mask.sum()),
                    crowd=crowd,
                    mask=encoded,
                )
            )
    return {"images": images, "annotations": annotations, "categories": category_records(CLASSES)}


def run(options: argparse.Namespace) -> None:
    """Convert the chosen splits.

    Raises:
        OSError: If a file is missing or cannot be written.
        ValueError: If a file is no 16-bit PNG.
    """
    check_folder(options.root / "annotations")
    for split in options.splits:
        content = convert(options.root, split)
        path = options.root / "annotations" / f"instances_{split}.json"
        write_atomically(path, [json.dumps(content).encode()])
        crowds = sum(annotation["iscrowd"] for annotation in content["annotations"])
        objects = len(content["annotations"]) - crowds
        sys.stdout.write(f"{path}: {len(content['images'])} images, {objects} objects, {crowds} groups as crowds\n")


def main(args: list[str] | None = None) -> int:
    """Convert splits.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 with one sentence if a file is missing or broken, 2 for a wrong call.
    """
    parser = plain_parser("tools.cityscapes_to_coco", __doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder with gtFine and leftImg8bit")
    parser.add_argument("--splits", nargs="+", default=["train", "val"], help="folders below gtFine")
    return run_tool(parser, run, args)


if __name__ == "__main__":
    sys.exit(main())
