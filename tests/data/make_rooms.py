"""Tiny rooms for tests: fakes of the renderer with the same interface, and data files that use them."""

import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import yaml

from datamodules.rooms.make_store import build_store
from datamodules.rooms.settings import RoomsSettings, Sequence
from datamodules.rooms.store import Arrays

TINY = RoomsSettings(
    height=24,
    width=32,
    n_video_scenes=4,
    n_video_val=1,
    n_video_test=1,
    frames_per_clip=6,
    n_stills=30,
    n_stills_val=5,
    n_stills_test=7,
)

RENDERER = "tests.data.make_rooms:render_fake"
SLOW_RENDERER = "tests.data.make_rooms:render_slowly"
BROKEN_RENDERER = "tests.data.make_rooms:render_broken"


def render_fake(settings: RoomsSettings, sequence: Sequence) -> Arrays:
    """Return random arrays that depend on the scene seed alone."""
    generator = np.random.default_rng(sequence.scene_seed)
    n, height, width = sequence.n_frames, settings.height, settings.width
    pose = np.tile(np.eye(4), (n, 1, 1))
    pose[:, :3, 3] = generator.normal(size=(n, 3))
    return {
        "image": generator.integers(0, 256, (n, height, width, 3)).astype(np.uint8),
        "depth": generator.uniform(0.5, 8.0, (n, height, width)).astype(np.float32),
        "K": np.tile(np.array([[0.9 * width, 0, width / 2], [0, 0.9 * width, height / 2], [0, 0, 1]]), (n, 1, 1)),
        "T_world_camera": pose,
        "semantic": generator.integers(0, 9, (n, height, width)).astype(np.uint8),
        "instance": generator.integers(0, 400, (n, height, width)).astype(np.uint16),
        "plane": generator.integers(0, 400, (n, height, width)).astype(np.uint16),
        "flags": generator.integers(0, 16, (n, height, width)).astype(np.uint8),
    }


def render_slowly(settings: RoomsSettings, sequence: Sequence) -> Arrays:
    """Like :func:`render_fake`, but slow enough to be killed in between; notes its process and its task."""
    log = os.environ.get("ROOMS_TEST_LOG")
    if log is not None:
        with Path(log).open("a") as file:
            file.write(f"{os.getpid()} {sequence.name}\n")
    time.sleep(0.02 * sequence.n_frames)
    return render_fake(settings, sequence)


def render_broken(settings: RoomsSettings, sequence: Sequence) -> Arrays:
    """Like :func:`render_fake`, but with NaN depth in one validation scene."""
    arrays = render_fake(settings, sequence)
    if sequence.name == "still/val/0002":
        arrays["depth"][0, 3, 4] = np.nan
    return arrays


def make_rooms(root: Path, settings: RoomsSettings = TINY) -> Path:
    """Write a tiny rooms file with random content.

    Args:
        root: Folder to write into.
        settings: Counts and sizes.

    Returns:
        Path of the file.
    """
    return build_store(dataclasses.replace(settings), root, processes=0, renderer=RENDERER, progress_bar=False)


def write_rooms_yaml(path: Path, root: Path, **arguments: object) -> Path:
    """Write a data file of the stills of tiny rooms with random content.

    Args:
        path: YAML file to write.
        root: Folder of the rooms, which are made on first use.
        arguments: Further arguments of the data module.

    Returns:
        ``path``.
    """
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(TINY).items()}
    fixed = {"settings": settings, "root": str(root), "processes": 0, "renderer": RENDERER}
    init_args = {**fixed, "parts": ["still"], "eval_parts": ["still"], **arguments}
    content = {"class_path": "datamodules.rooms.datamodule.RoomsDataModule", "init_args": init_args}
    path.write_text(yaml.safe_dump(content, default_flow_style=False))
    return path
