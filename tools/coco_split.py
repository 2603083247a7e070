"""Split the images of a COCO-format file into a training and a validation set.

``python -m tools.coco_split --json all.json --out folder [--val 0.2] [--seed 0]``

Writes ``train.json`` and ``val.json`` with the same categories into the folder. Images are drawn at random with a seed.
Related images, such as frames of one video, should be split by hand: if they are in both sets, the validation score is
too good.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.coco.file import CocoFile
from datamodules.coco.json_reading import load_coco_json
from structures.files import write_atomically
from structures.output_paths import check_folder
from tools.command import plain_parser, run_tool


def split(content: dict[str, Any], *, val: float, seed: int) -> dict[str, dict[str, Any]]:
    """Contents of the training and the validation file, by split name.

    Args:
        content: Content of a COCO-format file without faults.
        val: Share of validation images, inside (0, 1); each split gets at least one image.
        seed: Seed of the random split.

    Raises:
        ValueError: If there are fewer than two images, or the share is out of range.
    """
    count = len(content["images"])
    if not 0 < val < 1:
        raise ValueError(f"--val is a share of the images inside (0, 1), got {val:g}.")
    if count < 2:
        raise ValueError(f"There are {count} images, but at least two are needed to split them.")
    order = np.random.default_rng(seed).permutation(count)
    n_val = min(max(round(val * count), 1), count - 1)
    parts = {"train": np.sort(order[n_val:]), "val": np.sort(order[:n_val])}
    contents: dict[str, dict[str, Any]] = {}
    for name, positions in parts.items():
        images = [content["images"][position] for position in positions.tolist()]
        ids = {int(image["id"]) for image in images}
        annotations = [record for record in content["annotations"] if int(record["image_id"]) in ids]
        contents[name] = content | {"images": images, "annotations": annotations}
    return contents


def run(options: argparse.Namespace) -> None:
    """Split a file.

    Raises:
        OSError: If a file cannot be read or written, or exists already.
        ValueError: If the annotations or the share are wrong.
    """
    check_folder(options.out)
    CocoFile(options.json, keep_masks=False)  # refuses a faulty file before it is split in two
    contents = split(load_coco_json(options.json), val=options.val, seed=options.seed)
    paths = {name: options.out / f"{name}.json" for name in contents}
    taken = [path for path in paths.values() if path.exists()]
    if taken:
        raise FileExistsError(f"{taken[0]} exists already: choose another folder.")
    for name, content in contents.items():
        write_atomically(paths[name], [json.dumps(content).encode()])
        sys.stdout.write(f"{paths[name]}: {len(content['images'])} images, {len(content['annotations'])} objects\n")


def main(args: list[str] | None = None) -> int:
    """Split a file.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 with one sentence if the file cannot be used or would be replaced, 2 for a wrong call.
    """
    parser = plain_parser("tools.coco_split", __doc__)
    parser.add_argument("--json", type=Path, required=True, help="annotations in COCO format")
    parser.add_argument("--out", type=Path, required=True, help="folder of train.json and val.json")
    parser.add_argument("--val", type=float, default=0.2, help="share of validation images (default: 0.2)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random split (default: 0)")
    return run_tool(parser, run, args)


if __name__ == "__main__":
    sys.exit(main())
