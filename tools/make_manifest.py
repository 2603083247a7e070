"""Write a manifest of own RGB-D data from folders: ``python -m tools.make_manifest --help``.

Images and depth maps are paired by name: equal names, equal numbers (``frame_10.jpg`` and ``00010.png``), or the
nearest time stamps. If none of these pairs the files, the tool refuses. Splits count the images in natural order
(``frame_2`` before ``frame_10``)::

    python -m tools.make_manifest --images 'room/color/*.jpg' --depths 'room/depth/*.png' --depth-scale 1000 \
        --fx 525 --fy 525 --cx 319.5 --cy 239.5 --split train:0-99,test:100-139 --out room/manifest.csv

``--split time`` divides one sequence in time: its first part trains, its last part tests, and the frames of a gap
between two parts are left out, because neighbouring frames show the same view (``--shares``, ``--gap``).

Ground truth that is not in metres, for training on mixed data, has a kind instead of a depth scale::

    python -m tools.make_manifest --images 'web/rgb/*.jpg' --depths 'web/disparity/*.png' --kind affine_disparity \
        --out web/manifest.csv
"""

import argparse
import csv
import glob
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from datamodules.files.name_matching import UNITS, TimeUnit
from datamodules.files.pairing import DEFAULT_TOLERANCE_S, Pairing, pair_files
from datamodules.manifest.rows import INTRINSICS, read_manifest
from structures.depth_kind import DepthKind
from tools.command import plain_parser, run_tool

DEFAULT_SHARES = (0.7, 0.1, 0.2)
"""Shares of training, validation and test of ``--split time``."""
DEFAULT_GAP = 10
"""Frames between two parts of ``--split time``."""


def parse_split(text: str, count: int) -> list[str | None]:
    """Split of each frame.

    Args:
        text: Comma-separated ``name:first-last`` (both included) or ``name:index``, e.g. ``train:0-99,test:100-139``;
            a bare name takes every frame.
        count: Number of frames.

    Returns:
        ``count`` names; None for a frame outside of all ranges.

    Raises:
        ValueError: If a part cannot be read, exceeds the frames, or overlaps another part.

    Example:
        >>> parse_split("train:0-1,test:3", 4)
        ['train', 'train', None, 'test']
    """
    splits: list[str | None] = [None] * count
    for part in text.split(","):
        name, _, span = part.strip().partition(":")
        first, _, last = (span or f"0-{count - 1}").partition("-")
        if name not in ("train", "val", "test") or not first.isdigit() or not (last or first).isdigit():
            raise ValueError(f"Split '{part}' cannot be read; write e.g. train:0-99,val:100-109,test:110-139.")
        begin, end = int(first), int(last or first)
        if not begin <= end < count:
            raise ValueError(f"Split '{part}' has to lie within the frames 0-{count - 1} found.")
        for index in range(begin, end + 1):
            if splits[index] is not None:
                raise ValueError(f"Split '{part}' contains frame {index}, which is in '{splits[index]}' already.")
            splits[index] = name
    return splits


def time_split(count: int, *, shares: Sequence[float], gap: int) -> str:
    """The split of a sequence in time: training first, then validation, then test, with gaps between them.

    Args:
        count: Number of frames.
        shares: Shares of training, validation and test; validation may be 0. They are relative to their sum.
        gap: Number of frames that are left out between two parts.

    Returns:
        Text for :func:`parse_split`. Training gets what rounding leaves.

    Raises:
        ValueError: If a share or the gap is negative, or a part that is not 0 would have no frame.

    Example:
        >>> time_split(350, shares=(0.7, 0.1, 0.2), gap=10)
        'train:0-230,val:241-273,test:284-349'
    """
    numbers = ", ".join(f"{share:g}" for share in shares)
    if not all(math.isfinite(share) and share >= 0 for share in shares) or shares[0] <= 0 or shares[2] <= 0:
        raise ValueError(f"--shares are {numbers}, but those of training and test have to be above 0, and none below.")
    if gap < 0:
        raise ValueError(f"--gap is {gap}, but a number of frames of at least 0 is needed.")
    parts = [(name, share) for name, share in zip(("train", "val", "test"), shares, strict=True) if share > 0]
    frames = count - gap * (len(parts) - 1)
    sizes = [int(frames * share / sum(shares)) for _, share in parts]
    sizes[0] = frames - sum(sizes[1:])
    if min(sizes) < 1:
        raise ValueError(f"{count} frames are too few for shares of {numbers} with gaps of {gap} frames.")
    texts, first = [], 0
    for (name, _), size in zip(parts, sizes, strict=True):
        texts.append(f"{name}:{first}-{first + size - 1}")
        first += size + gap
    return ",".join(texts)


def find_files(pattern: str) -> list[Path]:
    """Files that match a glob pattern; ``**`` matches any number of folders.

    Raises:
        ValueError: If no file matches.
    """
    found = [Path(name) for name in glob.glob(pattern, recursive=True) if os.path.isfile(name)]
    if not found:
        raise ValueError(
            f"'{pattern}' matches no file; quote the pattern, so that the shell does not expand it, and match files, "
            "not a folder (room/depth/*.png)."
        )
    return found


def find_pairs(
    images: str, depths: str, *, tolerance_s: float = DEFAULT_TOLERANCE_S, time_unit: TimeUnit | None = None
) -> Pairing:
    """Pair the files of two patterns by name (``datamodules/files/pairing.py``).

    Args:
        images: Pattern of the images.
        depths: Pattern of the depth maps.
        tolerance_s: Largest difference of the time stamps of a pair, in seconds.
        time_unit: Unit of integer time stamps.

    Raises:
        ValueError: If a pattern matches nothing, a file matches both patterns, or the names do not pair the files.
    """
    image_files, depth_files = find_files(images), find_files(depths)
    both = {path.resolve() for path in image_files} & {path.resolve() for path in depth_files}
    if both:
        raise ValueError(
            f"'{images}' and '{depths}' both match {min(both)}: each pattern has to match one kind of file, as "
            "'*.color.png' and '*.depth.png'."
        )
    return pair_files(image_files, depth_files, tolerance_s=tolerance_s, time_unit=time_unit)


def find_masks(
    pattern: str, pairing: Pairing, *, tolerance_s: float = DEFAULT_TOLERANCE_S, time_unit: TimeUnit | None = None
) -> list[Path]:
    """The mask of every pair, matched to the names of the images or, if those do not match, of the depth maps.

    Raises:
        ValueError: If a pair has no mask, or the names do not determine it.
    """
    files = find_files(pattern)
    images, depths = ([pair[side] for pair in pairing.pairs] for side in (0, 1))
    try:
        with_images = [*images, *pairing.unmatched_images] if pairing.unmatched_images else images
        masks = pair_files(with_images, files, kind="masks", tolerance_s=tolerance_s, time_unit=time_unit)
    except ValueError:
        if not pairing.unmatched_images:
            raise
        # The masks are named after the depth maps, or exist only for the pairs.
        masks = pair_files(depths, files, kind="masks", tolerance_s=tolerance_s, time_unit=time_unit)
        images = depths
    found = dict(masks.pairs)
    missing = [image for image in images if image not in found]
    if missing:
        raise ValueError(f"{len(missing)} images have no mask among '{pattern}', the first is {missing[0]}.")
    return [found[image] for image in images]


def write_manifest(
    out: Path,
    pairs: list[tuple[Path, Path]],
    splits: list[str | None],
    *,
    depth_scale: float | None,
    intrinsics: tuple[float, float, float, float] | None = None,
    kind: DepthKind = DepthKind.METRIC,
    masks: list[Path] | None = None,
) -> int:
    """Write the manifest with paths relative to it, and read it back to check it.

    Args:
        out: ``.csv`` or ``.jsonl`` file to write; its folder is made if it is missing.
        pairs: Image and depth map of every frame.
        splits: Split of every frame; frames with None are left out.
        depth_scale: File units per metre; None if the kind is not metric.
        intrinsics: ``(fx, fy, cx, cy)`` in pixels, or None if unknown.
        kind: Meaning of the depth values.
        masks: Mask of every frame, or None.

    Returns:
        Number of rows.

    Raises:
        ValueError: If ``out`` has another suffix, is a folder or cannot be written, or a row is invalid.
    """
    if out.suffix not in (".csv", ".jsonl"):
        raise ValueError(f"The manifest has to end in .csv or .jsonl, got {out.name}.")
    if out.is_dir():
        raise ValueError(
            f"{out} is a folder, but the manifest is a file: give --out a path in it, as {out}/frames.csv."
        )
    rows: list[dict[str, str | float]] = []
    for index, ((image, depth), split) in enumerate(zip(pairs, splits, strict=True)):
        if split is None:
            continue
        row: dict[str, str | float] = {
            "image": os.path.relpath(image, out.parent),
            "depth": os.path.relpath(depth, out.parent),
            "split": split,
        }
        if kind is not DepthKind.METRIC:
            row["kind"] = kind.name.lower()
        if masks is not None:
            row["mask"] = os.path.relpath(masks[index], out.parent)
        if depth_scale is not None:
            row["depth_scale"] = depth_scale
        if intrinsics is not None:
            row |= dict(zip(INTRINSICS, intrinsics, strict=True))
        rows.append(row | {"name": image.stem})
    if not rows:
        raise ValueError("No frame is in any split, so there is nothing to write.")
    if len({row["name"] for row in rows}) < len(rows):  # equal file names in different folders: keep the folders
        for row in rows:
            row["name"] = str(Path(str(row["image"])).with_suffix("")).replace("../", "").lstrip("./")
    temporary = out.with_name(f".new-{out.name}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a file has the name of the folder, or writing is not allowed
        raise ValueError(
            f"The folder {out.parent} of the manifest cannot be made: {error.strerror}; choose another --out."
        ) from error
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            if out.suffix == ".csv":
                writer = csv.DictWriter(file, fieldnames=list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            else:
                file.writelines(json.dumps(row) + "\n" for row in rows)
        read_manifest(temporary, files_root=Path(out.absolute().anchor))
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return len(rows)


def common_folder(manifest: Path, files: Sequence[Path]) -> Path | None:
    """Folder that holds all files of a manifest, or None if that of the manifest does."""
    folder = manifest.absolute().parent
    paths = [os.path.abspath(file) for file in files]
    if all(Path(path).is_relative_to(os.path.abspath(folder)) for path in paths):
        return None
    return Path(os.path.commonpath([os.path.dirname(path) for path in paths]))


def main(args: list[str] | None = None) -> int:
    """Write a manifest.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 with one sentence if files or arguments cannot be used, 2 for a wrong call.
    """
    parser = plain_parser("tools.make_manifest", (__doc__ or "").split(":")[0] + ".")
    parser.add_argument("--images", required=True, help="quoted pattern of the images, e.g. 'room/color/*.jpg'")
    parser.add_argument("--depths", required=True, help="quoted pattern of the depth maps, e.g. 'room/depth/*.png'")
    parser.add_argument(
        "--depth-scale", type=float, help="file units per metre: 1000 for millimetres; metric depth only"
    )
    parser.add_argument(
        "--kind",
        default="metric",
        help="meaning of the depth values: "
        + ", ".join(kind.name.lower() for kind in DepthKind)
        + " (default: metric)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=DEFAULT_TOLERANCE_S,
        help="largest difference of the time stamps of an image and its depth map, seconds (default: %(default)s)",
    )
    parser.add_argument(
        "--time-unit",
        choices=list(UNITS),
        help="read the numbers in the names as time stamps, integers in this unit (default: numbers with a decimal "
        "point or with 13, 16 or 19 digits are time stamps)",
    )
    parser.add_argument("--masks", help="quoted pattern of maps whose non-zero pixels are valid (default: depth not 0)")
    for name in INTRINSICS:
        parser.add_argument(f"--{name}", type=float, help="pixels; give all four or none")
    parser.add_argument(
        "--split",
        default="train",
        help="e.g. train:0-99,test:100-139, or 'time': the parts of --shares with gaps of --gap (default: all for "
        "training; training then needs test rows from elsewhere)",
    )
    parser.add_argument(
        "--shares",
        type=float,
        nargs=3,
        metavar=("TRAIN", "VAL", "TEST"),
        help=f"shares of --split time (default: {' '.join(map(str, DEFAULT_SHARES))})",
    )
    parser.add_argument(
        "--gap", type=int, help=f"frames that --split time leaves out between two parts (default: {DEFAULT_GAP})"
    )
    parser.add_argument("--out", type=Path, required=True, help="the .csv or .jsonl file to write")
    return run_tool(parser, run, args)


def run(options: argparse.Namespace) -> None:
    """Pair the files and write the manifest.

    Raises:
        ValueError: If files or arguments cannot be used, or the manifest cannot be written.
    """
    given = [getattr(options, name) for name in INTRINSICS]
    if any(value is None for value in given) and any(value is not None for value in given):
        raise ValueError("Give all of --fx, --fy, --cx and --cy or none of them.")
    kind = DepthKind.from_name(options.kind)
    if (options.depth_scale is None) == (kind is DepthKind.METRIC):
        raise ValueError("--depth-scale is needed for metric depth, and for no other --kind.")
    in_time = options.split == "time"
    if not in_time and (options.shares is not None or options.gap is not None):
        raise ValueError("--shares and --gap belong to --split time; ranges, as train:0-99, have gaps of their own.")
    pairing = find_pairs(options.images, options.depths, tolerance_s=options.tolerance, time_unit=options.time_unit)
    masks = None
    if options.masks is not None:
        masks = find_masks(options.masks, pairing, tolerance_s=options.tolerance, time_unit=options.time_unit)
    split = options.split
    if in_time:
        split = time_split(
            len(pairing.pairs),
            shares=DEFAULT_SHARES if options.shares is None else options.shares,
            gap=DEFAULT_GAP if options.gap is None else options.gap,
        )
    splits = parse_split(split, len(pairing.pairs))
    intrinsics = None if given[0] is None else (given[0], given[1], given[2], given[3])
    try:
        count = write_manifest(
            options.out,
            pairing.pairs,
            splits,
            depth_scale=options.depth_scale,
            intrinsics=intrinsics,
            kind=kind,
            masks=masks,
        )
    except OSError as error:
        raise ValueError(f"The manifest {options.out} cannot be written: {error.strerror or error}.") from error
    sys.stderr.write(f"{pairing.summary()}.\n")
    sys.stderr.write(f"Wrote {count} rows to {options.out}.\n")
    if in_time:
        sys.stderr.write(f"Split in time: {split}.\n")
    root = common_folder(options.out, [path for pair in pairing.pairs for path in pair])
    if root is not None:
        sys.stderr.write(f"The files are not below it: train with --data.init_args.files_root {root}\n")
    if "test" not in splits and kind is DepthKind.METRIC:
        sys.stderr.write("No row is for testing, and training refuses that: add rows of split 'test' (--split).\n")


if __name__ == "__main__":
    sys.exit(main())
