"""Writes a tiny manifest whose rows have truth of every kind, with and without masks."""

from pathlib import Path

import cv2
import numpy as np

from tests.data.make_manifest_data import HEIGHT, INTRINSICS, WIDTH, true_image, write_rows

KINDS = ("metric", "affine_depth", "affine_disparity", "ordinal")


def true_values(frame: int) -> np.ndarray:
    """Truth ``(24, 32)``, uint16 from 0 on, its first row 0."""
    values = np.random.default_rng(2000 + frame).integers(1, 60000, (HEIGHT, WIDTH)).astype(np.uint16)
    values[0] = 0
    return values


def true_mask(frame: int) -> np.ndarray:
    """Mask ``(24, 32)``, 0 or 255, True in the row where the truth is 0 and False in the last one."""
    mask = (np.random.default_rng(3000 + frame).random((HEIGHT, WIDTH)) < 0.8).astype(np.uint8) * 255
    mask[0], mask[-1] = 255, 0
    return mask


def make_mixed_data(root: Path, *, masks: bool = True, test: int = 2) -> Path:
    """Write eight training rows, two of each kind, and metric test rows.

    Args:
        root: Folder to write into.
        masks: Whether odd training rows have a mask.
        test: Number of test rows, which follow.

    Returns:
        Path of the manifest.
    """
    rows: list[dict[str, object]] = []
    for folder in ("color", "truth", "mask"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for frame in range(2 * len(KINDS) + test):
        training = frame < 2 * len(KINDS)
        kind = KINDS[frame // 2] if training else "metric"
        cv2.imwrite(str(root / "color" / f"{frame}.png"), true_image(frame)[..., ::-1])
        cv2.imwrite(str(root / "truth" / f"{frame}.png"), true_values(frame))
        cv2.imwrite(str(root / "mask" / f"{frame}.png"), true_mask(frame))
        row: dict[str, object] = {"image": f"color/{frame}.png", "depth": f"truth/{frame}.png", "kind": kind}
        row |= {"split": "train" if training else "test", "depth_scale": 10000 if kind == "metric" else ""}
        row |= {"mask": f"mask/{frame}.png" if masks and training and frame % 2 else "", **INTRINSICS}
        rows.append(row)
    write_rows(root / "manifest.csv", rows)
    return root / "manifest.csv"
