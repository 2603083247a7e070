"""Check a COCO-format data set: counts, classes, suspicious annotations, and a picture of six samples.

``python -m tools.coco_check --json annotations.json --images folder [--out picture.png]``

The JSON is checked by the code that reads it in training. Every image file has to exist with the size that the JSON
gives; with ``--decode`` it is also decoded. Harmless faults are counted, each with its first example. The picture goes
to ``runs/coco_check/`` unless ``--out`` gives another path. The exit code is 1 if training would refuse the data.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.coco.file import CocoFile
from datamodules.coco.findings import CocoFileError
from datamodules.coco.image import CocoImage
from datamodules.coco.images import Exif, ImageReport, inspect_images, read_image, resolve_exif
from datamodules.files.run_lengths import decode_masks
from structures.files import write_png
from structures.output_paths import check_folder
from tools.command import plain_parser, run_tool

N_SAMPLES = 6
CELL = (320, 400)
"""Height and width of a drawn sample, pixels."""

MAX_LISTED = 10

PICTURES = Path("runs") / "coco_check"
"""Folder of the pictures, in the working directory."""


def report(file: CocoFile) -> list[str]:
    """Counts of images, boxes, masks and classes of a file, and its suspicious annotations, as lines of text."""
    images = file.images
    counts: Counter[int] = Counter()
    for image in images:
        counts.update(image.labels[~image.crowd].tolist())
    boxes = sum(counts.values())
    crowds = sum(int(image.crowd.sum()) for image in images)
    empty = sum(bool(image.crowd.all()) for image in images)
    masked = sum(image.has_masks and len(image.labels) > 0 for image in images)
    partly = sum(image.scores_masks and not image.has_masks for image in images)
    heights, widths = [image.height for image in images] or [0], [image.width for image in images] or [0]
    lines = [
        f"{file.path}: {len(images)} images, {boxes} boxes, {len(file.categories)} classes",
        f"sizes from {min(widths)}x{min(heights)} to {max(widths)}x{max(heights)} pixels (smallest and largest width "
        "and height)",
        f"{masked} images with masks, {partly} with masks of some objects; {crowds} crowds, not used in training",
        f"{empty} images without boxes, not used in training",
        *(file.findings.lines() or ["no suspicious boxes, masks or ids"]),
        "class, id in the file, boxes:",
    ]
    for label, (number, name) in enumerate(file.categories.items(), start=1):
        lines.append(f"  {label:4d} {name} ({number}): {counts[label]}" + ("" if counts[label] else "  <- none"))
    return lines


def image_problems(file: CocoFile, folder: Path, report: ImageReport, *, upright: bool, decode: bool) -> list[str]:
    """One sentence for every image that is missing, of another size than its record or, with ``decode``, broken."""
    problems = list(report.problems.values())
    if decode:
        for position, image in enumerate(file.images):
            if position not in report.problems:
                try:
                    read_image(image, folder, upright=upright)
                except ValueError as error:
                    problems.append(str(error))
    return problems


def samples(file: CocoFile) -> list[CocoImage]:
    """Up to six images with boxes, spread over the file."""
    filled = [image for image in file.images if len(image.labels) > 0]
    positions = np.unique(np.linspace(0, max(len(filled) - 1, 0), N_SAMPLES).round().astype(int))
    return [filled[position] for position in positions] if filled else []


def draw(image: CocoImage, folder: Path, names: list[str], *, upright: bool) -> npt.NDArray[np.uint8]:
    """An image with its boxes, classes and masks, uint8 ``(*CELL, 3)``; crowds are grey.

    Raises:
        FileNotFoundError: If there is no such image.
        ValueError: If it is broken.
    """
    pixels = read_image(image, folder, upright=upright).copy()
    masks = decode_masks(image.masks(), (image.height, image.width)) if image.scores_masks else None
    scale = min(CELL[0] / image.height, CELL[1] / image.width)
    for k, label in enumerate(image.labels.tolist()):
        if masks is not None:
            pixels[masks[k]] = (0.5 * pixels[masks[k]] + 0.5 * np.array(_colour(label, image.crowd[k]))).astype(
                np.uint8
            )
    size = (max(round(scale * image.width), 1), max(round(scale * image.height), 1))
    pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
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
        0, 1 if training would refuse the data, 2 for a wrong call.
    """
    parser = plain_parser("tools.coco_check", __doc__)
    parser.add_argument("--json", type=Path, required=True, help="annotations in COCO format")
    parser.add_argument("--images", type=Path, required=True, help="folder that each file_name is relative to")
    parser.add_argument("--out", type=Path, help=f"picture of six samples to write (default: below {PICTURES})")
    parser.add_argument("--decode", action="store_true", help="decode every image (slow)")
    parser.add_argument(
        "--exif", choices=get_args(Exif), default="auto", help="how images with an EXIF orientation are read"
    )
    return run_tool(parser, run, args)


def run(options: argparse.Namespace) -> int:
    """Check a data set.

    Returns:
        0, or 1 with one sentence for each kind of fault in the annotations.

    Raises:
        OSError: If a file or folder is missing or cannot be written.
        ValueError: If an image or an argument cannot be used.
    """
    out = options.out
    if out is None:
        out = PICTURES / f"{options.json.resolve().parent.name}_{options.json.stem}.png"
    check_folder(out.parent)
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder, but the path of a picture is needed, as {out / 'check.png'}.")
    try:
        return check(options.json, options.images, out, exif=options.exif, decode=options.decode)
    except CocoFileError as error:
        sys.stderr.write("\n".join(error.problems) + "\n")
        if len(error.problems) > 1:
            sys.stderr.write(f"Training refuses the file for each of these {len(error.problems)} kinds of fault.\n")
        return 1


def check(json_path: Path, folder: Path, out: Path, *, exif: Exif, decode: bool) -> int:
    """Print what a data set contains and draw samples of it.

    Args:
        json_path: Annotations.
        folder: Folder of the images.
        out: Picture to write.
        exif: How images with an EXIF orientation are read.
        decode: Whether to decode every image.

    Returns:
        0, or 1 if training would refuse the data.

    Raises:
        OSError: If a file or folder is missing or cannot be written.
        ValueError: If the annotations are wrong.
    """
    if not folder.is_dir():
        what = "is a file, but the folder of the images is needed" if folder.exists() else "does not exist"
        raise NotADirectoryError(f"The folder of the images, {folder}, {what}.")
    file = CocoFile(json_path, keep_masks=True)
    sys.stdout.write("\n".join(report(file)) + "\n")
    found = inspect_images(file.images, folder)
    upright, sentence = resolve_exif(found, file.images, exif=exif, json_path=json_path)
    if sentence is not None:
        sys.stdout.write(f"{sentence}\n")
    problems = image_problems(file, folder, found, upright=upright, decode=decode)
    for problem in problems[:MAX_LISTED]:
        sys.stderr.write(problem + "\n")
    if problems:
        sys.stderr.write(f"{len(problems)} of {len(file.images)} images cannot be used.\n")
        return 1
    if not file.images or all(image.crowd.all() for image in file.images):
        sys.stderr.write("There is no box to train on.\n")
        return 1
    names = list(file.categories.values())
    cells = [draw(image, folder, names, upright=upright) for image in samples(file)]
    cells += [np.zeros((*CELL, 3), dtype=np.uint8)] * (-len(cells) % 3)
    write_png(out, np.concatenate([np.concatenate(cells[k : k + 3], axis=1) for k in range(0, len(cells), 3)]))
    sys.stdout.write(f"samples drawn in {out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
