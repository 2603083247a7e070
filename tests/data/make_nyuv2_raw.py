"""Writes a tiny part of the raw video of NYU Depth v2: PPM frames in folders of scenes, the list, and test images."""

from pathlib import Path

import cv2
import numpy as np

from tests.data.make_nyuv2_eval import make_nyuv2_eval

WIDTH, HEIGHT = 640, 480
OFFSETS = (0, -4, -3, -2, -1, 1, 2, 3, 4)
REACH = 4


def written_image(scene: int, frame: int) -> np.ndarray:
    """Image ``(480, 640, 3)`` of a written frame: a texture that moves by three pixels a frame; blue says which."""
    noise = np.random.default_rng(scene).uniform(size=(HEIGHT, WIDTH + 100))
    texture = cv2.GaussianBlur(noise, (0, 0), 3)
    texture = 255 * (texture - texture.min()) / (texture.max() - texture.min())
    moved = texture[:, 3 * frame : 3 * frame + WIDTH]
    blue = np.full_like(moved, 40 * scene + 5 * frame)
    return np.stack([moved, moved, blue], axis=2).astype(np.uint8)


def written_path(scene: int, frame: int) -> str:
    """Path of a written frame as the list has it."""
    return f"nyu_depth_v2/bedroom_{scene:04d}/r-{1315251252 + frame}.453265-{3131793654 + frame}.ppm"


def write_ppm(path: Path, image: np.ndarray) -> None:
    """Write a binary PPM, as the raw part of the data set has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"P6\n%d %d\n255\n" % (image.shape[1], image.shape[0]) + image.tobytes())


def make_nyuv2_raw(root: Path, *, scenes: int = 2, targets: int = 2, tests: int = 2) -> Path:
    """Write frames, ``train.txt`` and ``test/``.

    Args:
        root: Folder to write into.
        scenes: Number of videos.
        targets: Lines of the list per video.
        tests: Number of test images.

    Returns:
        The folder.
    """
    lines = []
    for scene in range(scenes):
        for frame in range(targets + 2 * REACH):
            write_ppm(root / written_path(scene, frame), written_image(scene, frame))
        lines += [
            " ".join(written_path(scene, target + offset) for offset in OFFSETS)
            for target in range(REACH, REACH + targets)
        ]
    (root / "train.txt").write_text("\n".join(lines) + "\n")
    make_nyuv2_eval(root / "test", count=tests)
    return root
