"""Split the images of a COCO-format file into those to train on and those to validate on.

``python -m tools.coco_split --json all.json --out folder [--val 0.2] [--seed 0]``

Writes ``train.json`` and ``val.json`` with the same categories into the folder. Images are drawn at random, by a seed.
Images that belong together, as frames of one video, are better split by hand: a network that has seen one of them knows
the others.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.coco.file import CocoFile
from datamodules.coco.json_reading import load_coco_json
from lightning_modules.command_line.plain_parser import PlainParser
from structures.errors import plain_reason
from structures.files import write_atomically
from structures.output_paths import check_folder


def split(content: dict[str, Any], *, val: float, seed: int) -> dict[str, dict[str, Any]]:
    """Two contents of one, by the name of the split.

    Args:
        content: Of a COCO-format file without faults.
        val: Share of the images to validate on, inside (0, 1); each part gets at least one.
        seed: Seed of the draw.

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


def main(args: list[str] | None = None) -> int:
    """Split a file.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, or 1 with one sentence if the file cannot be used or a part would replace another file.
    """
    parser = PlainParser(prog="python -m tools.coco_split", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", type=Path, required=True, help="annotations in COCO format")
    parser.add_argument("--out", type=Path, required=True, help="folder of train.json and val.json")
    parser.add_argument("--val", type=float, default=0.2, help="share of the images to validate on (default: 0.2)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (default: 0)")
    options = parser.parse_args(args)
    try:
        check_folder(options.out)
        CocoFile(options.json, keep_masks=False)  # says what is wrong before it is spread over two files
        contents = split(load_coco_json(options.json), val=options.val, seed=options.seed)
        paths = {name: options.out / f"{name}.json" for name in contents}
        taken = [path for path in paths.values() if path.exists()]
        if taken:
            raise FileExistsError(f"{taken[0]} exists already: choose another folder.")
        for name, content in contents.items():
            write_atomically(paths[name], [json.dumps(content).encode()])
            sys.stdout.write(f"{paths[name]}: {len(content['images'])} images, {len(content['annotations'])} objects\n")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{plain_reason(error)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
