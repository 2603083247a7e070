"""Writes a tiny video of one's own: numbered frames that pan over a smooth random texture, depth, a camera file."""

from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 48, 64
CAMERA = {"fx": 60.0, "fy": 62.0, "cx": 31.5, "cy": 23.5, "width": WIDTH, "height": HEIGHT}
UNITS_PER_METRE = 1000


def true_image(frame: int, *, speed: float = 2.0, seed: int = 0) -> np.ndarray:
    """RGB ``(48, 64, 3)``: every pixel of the picture moves left by ``speed`` pixels a frame."""
    texture = np.random.default_rng(seed).integers(0, 256, (HEIGHT, 512, 3)).astype(np.float32)
    texture = cv2.GaussianBlur(texture, (0, 0), 2.5)
    texture = (texture - texture.min()) / (texture.max() - texture.min()) * 255
    shift = np.array([[1.0, 0.0, -speed * frame], [0.0, 1.0, 0.0]])
    return cv2.warpAffine(texture, shift, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR).round().astype(np.uint8)


def true_depth_mm(frame: int) -> np.ndarray:
    """Depth ``(48, 64)`` in millimetres, uint16: another one for every frame, its first row unknown."""
    depth = np.random.default_rng(1000 + frame).integers(500, 5000, (HEIGHT, WIDTH)).astype(np.uint16)
    depth[0] = 0
    return depth


def write_camera(path: Path, **changes: object) -> Path:
    """Write a camera file; a change to None takes the line out."""
    lines = {key: value for key, value in (CAMERA | changes).items() if value is not None}
    path.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    return path


def make_frames_video(
    root: Path,
    *,
    frames: int = 12,
    speed: float = 2.0,
    seed: int = 0,
    depth: Path | None = None,
    camera: bool = True,
    name: str = "frame_{}.png",
) -> Path:
    """Write the frames of one sequence.

    Args:
        root: Folder to write into.
        frames: Number of frames, counted from 0 without leading zeros in their names.
        speed: Pixels that the picture moves a frame.
        seed: Seed of the texture.
        depth: Folder to write depth into, under the names of the frames, or None.
        camera: Whether to write a ``camera.yaml``.
        name: Pattern of the file names.

    Returns:
        The folder of the frames.
    """
    root.mkdir(parents=True, exist_ok=True)
    for frame in range(frames):
        cv2.imwrite(str(root / name.format(frame)), true_image(frame, speed=speed, seed=seed)[..., ::-1])
        if depth is not None:
            depth.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str((depth / name.format(frame)).with_suffix(".png")), true_depth_mm(frame))
    if camera:
        write_camera(root / "camera.yaml")
    return root


def write_video_file(path: Path, *, frames: int = 12, speed: float = 2.0) -> Path:
    """Write the same frames as a motion JPEG in an AVI container."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (WIDTH, HEIGHT))
    for frame in range(frames):
        writer.write(np.ascontiguousarray(true_image(frame, speed=speed)[..., ::-1]))
    writer.release()
    return path
