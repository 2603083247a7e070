"""Look at a COCO-format data set before a day is spent on it: counts, classes, odd boxes, six drawn samples.

``python -m tools.coco_check --json annotations.json --images folder [--out coco_check.png]``

Every image file is looked for, and with ``--decode`` read. The exit code is 1 if something would stop a training.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.coco import read_image
from datamodules.coco_file import CocoFile, CocoImage
from datamodules.run_lengths import decode_masks
from structures.files import write_png

N_SAMPLES = 6
CELL = (320, 400)
"""Height and width of a drawn sample."""

MAX_LISTED = 10


def report(file: CocoFile) -> list[str]:
    """Lines about what is in a file."""
    images = file.images
    counts: Counter[int] = Counter()
    for image in images:
        counts.update(image.labels[~image.crowd].tolist())
    boxes = sum(counts.values())
    crowds = sum(int(image.crowd.sum()) for image in images)
    empty = sum(bool(image.crowd.all()) for image in images)
    masked = sum(image.has_masks and len(image.labels) > 0 for image in images)
    odd = file.odd_boxes
    heights, widths = [image.height for image in images] or [0], [image.width for image in images] or [0]
    lines = [
        f"{file.path}: {len(images)} images, {boxes} boxes, {len(file.categories)} classes",
        f"sizes from {min(widths)}x{min(heights)} to {max(widths)}x{max(heights)} pixels (smallest and largest width "
        "and height)",
        f"{masked} images with masks; {crowds} crowds, which are not trained on",
        f"{empty} images without boxes, which are not trained on",
        f"odd boxes: {odd.without_area} without area and {odd.outside} outside of their images (left out), "
        f"{odd.clipped} over the border (clipped)",
        "class, id in the file, boxes:",
    ]
    for label, (number, name) in enumerate(file.categories.items(), start=1):
        lines.append(f"  {label:4d} {name} ({number}): {counts[label]}" + ("" if counts[label] else "  <- none"))
    return lines


def image_problems(file: CocoFile, folder: Path, *, decode: bool) -> list[str]:
    """One sentence for every image that is missing or, if they are read, broken."""
    problems = []
    for image in file.images:
        if not (folder / image.file_name).is_file():
            problems.append(f"There is no image {folder / image.file_name}.")
        elif decode:
            try:
                read_image(image, folder)
            except ValueError as error:
                problems.append(str(error))
    return problems


def samples(file: CocoFile) -> list[CocoImage]:
    """Up to six images with boxes, spread over the file."""
    filled = [image for image in file.images if len(image.labels) > 0]
    positions = np.unique(np.linspace(0, max(len(filled) - 1, 0), N_SAMPLES).round().astype(int))
    return [filled[position] for position in positions] if filled else []


def draw(image: CocoImage, folder: Path, names: list[str]) -> npt.NDArray[np.uint8]:
    """An image with its boxes, classes and masks, in a cell of the sheet; crowds are grey.

    Raises:
        FileNotFoundError: If there is no such image.
        ValueError: If it is broken.
    """
    pixels = read_image(image, folder).copy()
    masks = decode_masks(image.masks(), pixels.shape[:2]) if image.has_masks else None
    scale = min(CELL[0] / image.height, CELL[1] / image.width)
    for k, label in enumerate(image.labels.tolist()):
        if masks is not None:
            pixels[masks[k]] = (0.5 * pixels[masks[k]] + 0.5 * np.array(_colour(label, image.crowd[k]))).astype(
                np.uint8
            )
    pixels = cv2.resize(pixels, (round(scale * image.width), round(scale * image.height)), interpolation=cv2.INTER_AREA)
    for box, label, crowd in zip(image.boxes * scale, image.labels.tolist(), image.crowd, strict=True):
        x1, y1, x2, y2 = (round(float(value)) for value in box)
        cv2.rectangle(pixels, (x1, y1), (max(x2 - 1, x1), max(y2 - 1, y1)), _colour(label, crowd), 1)
        cv2.putText(pixels, names[label - 1], (x1 + 2, y1 + 11), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (255, 255, 255), 1)
    cell = np.full((*CELL, 3), 32, dtype=np.uint8)
    cell[: pixels.shape[0], : pixels.shape[1]] = pixels
    return cell


def _colour(label: int, crowd: bool) -> tuple[int, int, int]:
    if crowd:
        return 160, 160, 160
    hue = np.array([[[label * 53 % 180, 220, 255]]], dtype=np.uint8)
    red, green, blue = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue


def main(args: list[str] | None = None) -> int:
    """Check a data set.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, or 1 if something would stop a training.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.coco_check", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", type=Path, required=True, help="annotations in COCO format")
    parser.add_argument("--images", type=Path, required=True, help="folder that file_name starts from")
    parser.add_argument("--out", type=Path, default=Path("coco_check.png"), help="picture of six samples to write")
    parser.add_argument("--decode", action="store_true", help="read every image, which takes a while")
    options = parser.parse_args(args)
    try:
        file = CocoFile(options.json, keep_masks=True)
        sys.stdout.write("\n".join(report(file)) + "\n")
        problems = image_problems(file, options.images, decode=options.decode)
        for problem in problems[:MAX_LISTED]:
            sys.stderr.write(problem + "\n")
        if problems:
            sys.stderr.write(f"{len(problems)} of {len(file.images)} images cannot be used.\n")
            return 1
        if not file.images or all(image.crowd.all() for image in file.images):
            sys.stderr.write("There is no box to train on.\n")
            return 1
        names = list(file.categories.values())
        cells = [draw(image, options.images, names) for image in samples(file)]
        cells += [np.zeros((*CELL, 3), dtype=np.uint8)] * (-len(cells) % 3)
        rows = [np.concatenate(cells[k : k + 3], axis=1) for k in range(0, len(cells), 3)]
        write_png(options.out, np.concatenate(rows))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"samples drawn in {options.out}: look at them\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
