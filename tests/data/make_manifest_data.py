"""Writes a tiny set of own RGB-D data: colour images, depth in millimetres, a manifest."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 24, 32
INTRINSICS = {"fx": 30.0, "fy": 31.0, "cx": 15.5, "cy": 11.5}


def true_image(frame: int) -> np.ndarray:
    """RGB ``(24, 32, 3)``: random, so that only the right frame with the right channels fits."""
    return np.random.default_rng(frame).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def true_depth_mm(frame: int) -> np.ndarray:
    """Depth ``(24, 32)`` in millimetres, uint16, its first row unknown."""
    depth = np.random.default_rng(1000 + frame).integers(500, 5000, (HEIGHT, WIDTH)).astype(np.uint16)
    depth[0] = 0
    return depth


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    """Write rows as CSV or JSONL, by the ending of the path."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


def make_manifest_data(root: Path, *, name: str = "manifest.csv", train: int = 5, test: int = 3) -> Path:
    """Write images, depths and a manifest with a train and a test split.

    Args:
        root: Folder to write into.
        name: Name of the manifest; its ending decides on the format.
        train: Number of training frames.
        test: Number of test frames, which follow.

    Returns:
        Path of the manifest.
    """
    rows: list[dict[str, object]] = []
    for folder in ("color", "depth"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for frame in range(train + test):
        cv2.imwrite(str(root / "color" / f"{frame:03d}.png"), true_image(frame)[..., ::-1])
        cv2.imwrite(str(root / "depth" / f"{frame:03d}.png"), true_depth_mm(frame))
        row: dict[str, object] = {"image": f"color/{frame:03d}.png", "depth": f"depth/{frame:03d}.png"}
        row |= {"split": "train" if frame < train else "test", "depth_scale": 1000, **INTRINSICS}
        rows.append(row)
    write_rows(root / name, rows)
    return root / name
