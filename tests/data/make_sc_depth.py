"""Writes a tiny data set in the layout of SC-Depth."""

from pathlib import Path

import cv2
import numpy as np

from tests.data.make_frames_video import make_frames_video, true_depth_mm, true_image

K = np.array([[60.0, 0.0, 31.5], [0.0, 62.0, 23.5], [0.0, 0.0, 1.0]])


def make_sc_depth(
    root: Path, *, scenes: int = 3, frames: int = 6, tested: int = 2, lists: bool = True, scene_depth: bool = True
) -> Path:
    """Write ``Training`` with some scenes, of which the last is for validation, and ``Testing`` with lone images.

    Args:
        root: Folder to write into.
        scenes: Number of scenes; scene s has the texture of seed s.
        frames: Frames of each scene.
        tested: Number of lone test images.
        lists: Whether to write ``train.txt`` and ``val.txt``.
        scene_depth: Whether the scene to validate on has a folder of depth.

    Returns:
        The root.
    """
    names = [f"Scene{scene:04d}" for scene in range(scenes)]
    for seed, name in enumerate(names):
        folder = root / "Training" / name
        make_frames_video(folder, frames=frames, seed=seed, camera=False, name="{:07d}.png")
        for image in sorted(folder.glob("*.png")):
            cv2.imwrite(str(image.with_suffix(".jpg")), cv2.imread(str(image)), [cv2.IMWRITE_JPEG_QUALITY, 100])
            image.unlink()
        np.savetxt(folder / "cam.txt", K)
    if scene_depth:
        (root / "Training" / names[-1] / "depth").mkdir()
        for frame in range(frames):
            cv2.imwrite(str(root / "Training" / names[-1] / "depth" / f"{frame:07d}.png"), true_depth_mm(frame))
    if lists:
        (root / "Training" / "train.txt").write_text("".join(f"{name}\n" for name in names[:-1]))
        (root / "Training" / "val.txt").write_text(names[-1])  # without a line end, as files are
    for folder in ("color", "depth") if tested else ():
        (root / "Testing" / folder).mkdir(parents=True)
    for index in range(tested):
        cv2.imwrite(str(root / "Testing" / "color" / f"{index:04d}.png"), true_image(index, seed=99)[..., ::-1])
        cv2.imwrite(str(root / "Testing" / "depth" / f"{index:04d}.png"), true_depth_mm(100 + index))
    return root
