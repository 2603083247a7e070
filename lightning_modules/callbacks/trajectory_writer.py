"""Writes the camera trajectories that a self-supervised module predicts, in the TUM format."""

import json
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from geometry.se3 import compose_transforms, invert_transform
from geometry.trajectory import trajectory_error
from structures.batch import PADDING_INDEX
from structures.contained_paths import output_path
from structures.files import write_atomically
from structures.tum import write_tum

logger = logging.getLogger(__name__)

Steps = dict[int, Tensor]
"""float64 ``T_next_frame`` ``(4, 4)`` by the number of the frame."""


class TrajectoryWriter(Callback):
    """Chains the relative poses of the clips of a test into camera trajectories and writes them in the TUM format.

    The module has the methods ``predict_depth(batch)`` and ``relative_poses(batch, depth)``, which returns
    ``T_frame_target`` ``(B, N, 4, 4)``. The motion from the target of each clip to the next frame is used, so that each
    step of the video is used once. Names of clips end in the number of their target, ``video_0003/0007``; the rest is
    the name of the sequence. After a missing frame a new trajectory starts.

    Files, in ``trajectories/`` of the trainer's folder: ``<sequence>.txt``, a pose a frame with the number of the frame
    as its timestamp and the first camera as the world, in the unit of the network; further parts of a sequence in
    ``<sequence>_part2.txt`` and so on. Where the batch has ground-truth poses, they are in ``<sequence>_true.txt``,
    metres, and ``errors.json`` has the errors of :func:`geometry.trajectory.trajectory_error` of each trajectory.
    ``fast_dev_run`` writes nothing, and neither do several processes, since none of them has a whole video.

    Args:
        stride: Frames from a target to the next frame of its clip, >= 1; None takes the data module's. Above 1 a
            trajectory has every ``stride``-th frame. Clips of differing strides (``target_flow`` of a user's video)
            give no trajectory.

    Raises:
        ValueError: If the stride is below 1.
    """

    def __init__(self, stride: int | None = None) -> None:
        super().__init__()
        if stride is not None and stride < 1:
            raise ValueError(f"stride is {stride}, but must be at least 1")
        self.given_stride = stride
        self.stride = 1 if stride is None else stride
        self.mixed = False
        self._predicted: dict[str, Steps] = defaultdict(dict)
        self._true: dict[str, Steps] = defaultdict(dict)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a module without poses.

        Raises:
            ValueError: If the module lacks one of the two methods.
        """
        for name in ("predict_depth", "relative_poses"):
            if not callable(getattr(pl_module, name, None)):
                raise ValueError(
                    "TrajectoryWriter takes poses from a module's predict_depth and relative_poses, but "
                    f"{type(pl_module).__name__} has no {name}: leave the callback out."
                )

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Clear the poses of an earlier test."""
        self._predicted.clear()
        self._true.clear()
        data: Any = getattr(trainer, "datamodule", None)
        if self.given_stride is None:
            self.stride = int(getattr(data, "stride", 1))
        self.mixed = getattr(data, "target_flow", None) is not None
        if self.mixed:
            logger.warning("no trajectories are written: target_flow gives every clip a stride of its own")
        if trainer.world_size > 1 and trainer.is_global_zero:
            logger.warning(
                "no trajectories are written: %d processes share the videos; test on one device to get them",
                trainer.world_size,
            )

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Mapping[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Store the relative pose of each clip; batches of single images have none."""
        if not self._writes(trainer) or dataloader_idx > 0 or "frames" not in batch:
            return
        with torch.no_grad():
            depth = pl_module.predict_depth(batch)  # type: ignore[operator]  # both are checked in setup
            predicted: Tensor = pl_module.relative_poses(batch, depth)  # type: ignore[operator]
        following = predicted.shape[1] // 2 + 1
        for paths, T_frame_target in ((self._predicted, predicted), (self._true, batch.get("T_frame_target"))):
            if T_frame_target is None:
                continue
            steps = T_frame_target[:, following].detach().to("cpu", torch.float64)
            for name, index, step in zip(batch["name"], batch["index"].tolist(), steps, strict=True):
                sequence, _, frame = name.rpartition("/")
                if index != PADDING_INDEX and sequence and frame.isdecimal():
                    paths[sequence][int(frame)] = step

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the trajectories.

        Raises:
            OSError: If a file cannot be written.
        """
        if not self._writes(trainer):
            return
        folder = Path(trainer.default_root_dir) / "trajectories"
        errors: dict[str, dict[str, float]] = {}
        n_paths = 0
        for sequence, steps in sorted(self._predicted.items()):
            for part, frames in enumerate(consecutive(steps, stride=self.stride), start=1):
                name = sequence if part == 1 else f"{sequence}_part{part}"
                times = np.array([*frames, frames[-1] + self.stride], dtype=np.float64)
                path = chain(steps, frames)
                if not bool(path.isfinite().all()):
                    logger.warning("the trajectory of '%s' is not finite and is left out", name)
                    continue
                write_tum(output_path(folder, f"{name}.txt"), times, path.numpy())
                n_paths += 1
                if sequence in self._true:
                    true = chain(self._true[sequence], frames)
                    write_tum(output_path(folder, f"{name}_true.txt"), times, true.numpy())
                    measured = trajectory_error(path, true_T_world_camera=true)
                    errors[name] = {"frames": len(times)} | {key: float(value) for key, value in measured.items()}
        if errors:
            write_atomically(folder / "errors.json", [json.dumps(errors, indent=2).encode()])
        if n_paths > 0:
            logger.info("%d trajectories in %s", n_paths, folder)

    def _writes(self, trainer: Trainer) -> bool:
        return trainer.world_size == 1 and not self.mixed and not trainer.fast_dev_run  # type: ignore[attr-defined]


def consecutive(frames: Collection[int], *, stride: int = 1) -> list[list[int]]:
    """Frame numbers, split into runs without gaps.

    Args:
        frames: Different frame numbers in any order.
        stride: Frames from one number of a run to the next; numbers in between are skipped.

    Returns:
        Runs in ascending order.

    >>> consecutive([4, 0, 1, 2, 5, 9])
    [[0, 1, 2], [4, 5], [9]]
    >>> consecutive([0, 1, 2, 3, 4, 8], stride=2)
    [[0, 2, 4], [8]]
    """
    runs: list[list[int]] = []
    present = set(frames)
    for frame in sorted(present):
        if runs and frame < runs[-1][-1] + stride:
            continue  # between two frames of the run
        run = [frame]
        while run[-1] + stride in present:
            run.append(run[-1] + stride)
        runs.append(run)
    return runs


def chain(steps: Mapping[int, Tensor], frames: Collection[int]) -> Tensor:
    """Poses of a run of frames and of the frame after it, with the first camera as the world.

    Args:
        steps: ``T_next_frame`` ``(4, 4)`` by the number of the frame.
        frames: The run, each frame's *next* being the one after it.

    Returns:
        ``T_world_camera`` ``(len(frames) + 1, 4, 4)``.
    """
    poses = [torch.eye(4, dtype=torch.float64)]
    for frame in frames:
        poses.append(compose_transforms(poses[-1], invert_transform(steps[frame])))
    return torch.stack(poses)
