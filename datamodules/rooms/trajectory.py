"""Camera poses: single views for stills, smooth hand-held paths for videos.

A video path is a flat arc. The step between frames is adapted to the optical flow computed from exact depth and poses,
so that every clip has the flow of ``RoomsSettings.flow_range`` for any distance of the walls.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from datamodules.rooms.arrays import CENTER, EXTENT, KIND, ROOM, ROTATION, Scene
from datamodules.rooms.caster import first_hits
from datamodules.rooms.categories import CATEGORY_ID
from datamodules.rooms.settings import RoomsSettings

Array = npt.NDArray[np.float64]

#: Minimum distance in metres of the camera from all objects.
CLEARANCE_M = 0.35

#: Size of the small depth maps for the selection of poses.
_PROBE_HEIGHT, _PROBE_WIDTH = 18, 24

#: Bounds of the camera height and of the step between frames, in metres.
_HEIGHT_M, _STEP_M = (1.0, 1.7), (0.015, 0.16)

#: Smallest share of the flow caused by translation; the data set documents at least a half.
_TRANSLATION_SHARE = 0.65


def intrinsics(settings: RoomsSettings, rng: np.random.Generator) -> Array:
    """Draw (3, 3) intrinsics in pixels, corner convention: square pixels, principal point in the image's middle."""
    focal = float(rng.uniform(*settings.focal_range)) * settings.width
    return np.array([[focal, 0.0, settings.width / 2], [0.0, focal, settings.height / 2], [0.0, 0.0, 1.0]])


def look(position: npt.ArrayLike, yaw: float, pitch: float, roll: float) -> Array:
    """Return ``T_world_camera`` (4, 4) of a camera (x right, y down, z forward), world z up; angles in radians."""
    forward = np.array([math.cos(pitch) * math.cos(yaw), math.cos(pitch) * math.sin(yaw), math.sin(pitch)])
    level = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    below = np.cross(forward, level)
    pose = np.eye(4)
    pose[:3, 0] = math.cos(roll) * level + math.sin(roll) * below
    pose[:3, 1] = -math.sin(roll) * level + math.cos(roll) * below
    pose[:3, 2] = forward
    pose[:3, 3] = position
    return pose


def clearance(scene: Scene, points: Array) -> Array:
    """Return the distance of points (N, 3) from the bounding boxes of all primitives and the walls, (N,) metres."""
    walls = np.minimum(points, scene.size - points).min(axis=1)
    g = scene.render.geometry
    g = g[g[:, KIND] != ROOM]
    rotation = g[:, ROTATION : ROTATION + 9].reshape(-1, 3, 3)
    local = np.einsum("pij,npj->npi", rotation, points[:, None] - g[:, CENTER : CENTER + 3])
    outside = np.abs(local) - g[:, EXTENT : EXTENT + 3]
    distance = np.linalg.norm(np.maximum(outside, 0.0), axis=-1) + np.minimum(outside.max(axis=-1), 0.0)
    return np.minimum(walls, distance.min(axis=1))


def optical_flow(depth: Array, k: Array, first: Array, second: Array) -> tuple[Array, Array]:
    """Return the length of the exact optical flow of a static scene between two views.

    Args:
        depth: (H, W) depth of the first view, metres along z.
        k: (3, 3) intrinsics of both views for this size.
        first: (4, 4) ``T_world_camera`` of the first view.
        second: (4, 4) ``T_world_camera`` of the second view.

    Returns:
        Lengths in pixels, (H, W) each, of the flow and of the flow due to translation alone; infinite for points behind
        the second camera.
    """
    height, width = depth.shape
    pixels = np.stack(
        [*np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), np.ones((height, width))], axis=-1
    )
    points = (pixels @ np.linalg.inv(k).T) * depth[..., None]
    lengths = []
    for rotation in (second[:3, :3], first[:3, :3]):
        moved = (points @ first[:3, :3].T + first[:3, 3] - second[:3, 3]) @ rotation
        seen = moved @ k.T
        safe = np.where(seen[..., 2] > 1e-3, seen[..., 2], np.nan)
        shift = seen[..., :2] / safe[..., None] - pixels[..., :2]
        lengths.append(np.nan_to_num(np.linalg.norm(shift, axis=-1), nan=np.inf))
    return lengths[0], lengths[1]


@dataclasses.dataclass(frozen=True)
class _Probe:
    """A small depth map and the quality score of a view."""

    depth: Array
    score: float


def _probe(scene: Scene, pose: Array, k: Array, settings: RoomsSettings) -> tuple[_Probe, Array]:
    scale = np.diag([_PROBE_WIDTH / settings.width, _PROBE_HEIGHT / settings.height, 1.0])
    small = scale @ k
    depth, primitive, face = first_hits(scene, pose, small, _PROBE_HEIGHT, _PROBE_WIDTH)
    semantic = scene.semantic[primitive, face]
    things, counts = np.unique(scene.instance[primitive], return_counts=True)
    visible = float(np.sum((things > 0) & (counts >= 3)))
    covered = float(np.mean(scene.instance[primitive] > 0))
    largest = float(counts[things > 0].max() / depth.size) if (things > 0).any() else 0.0
    ground = float(np.mean(semantic == CATEGORY_ID["floor"]))
    near = float(np.mean(depth < 0.7))
    score = (
        min(visible, 7.0) + 8.0 * min(covered, 0.4) + 12.0 * min(ground, 0.15) - 12.0 * near
        - 8.0 * max(0.0, largest - 0.3) + 1.2 * min(float(np.median(depth)), 3.0)
    )  # fmt: skip
    return _Probe(depth, score), small


def _random_view(scene: Scene, rng: np.random.Generator) -> tuple[Array, float, float]:
    """Return position, yaw (mostly towards the larger part of the room) and pitch of a random view."""
    position = np.array([
        rng.uniform(CLEARANCE_M, scene.size[0] - CLEARANCE_M),
        rng.uniform(CLEARANCE_M, scene.size[1] - CLEARANCE_M),
        rng.uniform(*_HEIGHT_M),
    ])  # fmt: skip
    aim = scene.size[:2] * rng.uniform(0.2, 0.8, size=2) - position[:2]
    yaw = math.atan2(aim[1], aim[0]) + float(rng.normal(0.0, 0.35))
    pitch = math.radians(float(np.clip(rng.normal(-13.0, 6.0), -28.0, 3.0)))
    return position, yaw, pitch


def still_pose(settings: RoomsSettings, scene: Scene, k: Array, rng: np.random.Generator) -> Array:
    """Return the pose of a still: the best of six random views in free space, by visible objects, floor and distance.

    Args:
        settings: Image size.
        scene: The scene.
        k: (3, 3) intrinsics.
        rng: Source of all draws.

    Returns:
        (4, 4) ``T_world_camera``.
    """
    best, best_score, found = np.eye(4), -math.inf, 0
    for attempt in range(400):
        position, yaw, pitch = _random_view(scene, rng)
        roll = math.radians(float(rng.normal(0.0, 2.0)))
        free = float(clearance(scene, position[None])[0])
        if free < CLEARANCE_M and (attempt < 300 or found > 0 or free < 0.5 * CLEARANCE_M):
            continue
        pose = look(position, yaw, pitch, roll)
        probe, _ = _probe(scene, pose, k, settings)
        found += 1
        if probe.score > best_score:
            best, best_score = pose, probe.score
        if found >= 6:
            break
    if found == 0:
        raise RuntimeError(
            "rooms: no free place for the camera in 400 attempts; the scene generator has left no free floor"
        )
    return best


@dataclasses.dataclass(frozen=True)
class _Path:
    """Constant parameters of the hand-held arc of one clip."""

    start: Array
    heading: float
    bend: float
    climb: float
    yaw: float
    yaw_rate: float
    pitch: float
    phase: Array
    period: Array
    shake: Array

    def pose(self, distance: float, index: int) -> Array:
        """Return the pose after ``distance`` metres of path, with the shake of frame ``index``."""
        if abs(self.bend) < 1e-6:
            x, y = distance, 0.0
        else:
            x, y = math.sin(self.bend * distance) / self.bend, (1.0 - math.cos(self.bend * distance)) / self.bend
        c, s = math.cos(self.heading), math.sin(self.heading)
        wave = self.shake * np.sin(2.0 * math.pi * index / self.period + self.phase)
        position = self.start + np.array([c * x - s * y, s * x + c * y, self.climb * distance]) + wave[:3]
        return look(position, self.yaw + self.yaw_rate * distance + wave[3], self.pitch + wave[4], wave[5])


def _random_path(scene: Scene, rng: np.random.Generator) -> _Path:
    position, yaw, pitch = _random_view(scene, rng)
    # Motion is mostly sideways or oblique: forward motion causes little flow in the image centre.
    side = float(rng.choice([-1.0, 1.0]))
    heading = yaw + side * math.radians(float(rng.uniform(30.0, 150.0)))
    bend = float(rng.uniform(-1.1, 1.1))
    return _Path(
        start=position,
        heading=heading,
        bend=bend,
        climb=float(rng.uniform(-0.12, 0.12)),
        yaw=yaw,
        yaw_rate=float(rng.uniform(-0.14, 0.14)),
        pitch=pitch,
        phase=rng.uniform(0.0, 2.0 * math.pi, 6),
        period=rng.uniform(9.0, 22.0, 6),
        shake=np.array([0.006, 0.006, 0.006, 0.005, 0.005, 0.006]) * rng.uniform(0.4, 1.0, 6),
    )


def _walk(
    settings: RoomsSettings, scene: Scene, k: Array, path: _Path, frames: int, target: float, gap: float
) -> tuple[list[Array], float] | None:
    """Return poses along a path with the target flow, and their mean score; None on collision or wrong flow."""
    scale = _PROBE_WIDTH / settings.width
    poses = [path.pose(0.0, 0)]
    distance, step = 0.0, 0.0
    scores, shares = [], []
    low, high = 0.8 * settings.flow_range[0], 1.15 * settings.flow_range[1]
    for index in range(1, frames):
        probe, small = _probe(scene, poses[-1], k, settings)
        scores.append(probe.score)
        needed = step if index > 1 else 0.06
        total, alone = 0.0, 0.0
        for _ in range(2):
            whole, part = optical_flow(probe.depth, small, poses[-1], path.pose(distance + needed, index))
            total = float(np.median(whole)) / scale / settings.width
            needed = float(np.clip(needed * target / max(total, 1e-4), *_STEP_M))
        step = needed if index == 1 else step + 0.4 * (needed - step)
        distance += step
        pose = path.pose(distance, index)
        if not _HEIGHT_M[0] <= pose[2, 3] <= _HEIGHT_M[1] or clearance(scene, pose[None, :3, 3])[0] < gap:
            return None
        whole, part = optical_flow(probe.depth, small, poses[-1], pose)
        total, alone = float(np.median(whole)), float(np.median(part))
        if not low <= total / _PROBE_WIDTH <= high:
            return None
        shares.append(alone / total)
        poses.append(pose)
    if float(np.median(shares)) < _TRANSLATION_SHARE or min(scores) < 2.0:
        return None
    return poses, float(np.mean(scores))


def video_poses(settings: RoomsSettings, scene: Scene, k: Array, rng: np.random.Generator, frames: int) -> Array:
    """Return a hand-held path through free space: the best of three with the target flow.

    Args:
        settings: Image size and ``flow_range``.
        scene: The scene.
        k: (3, 3) intrinsics.
        rng: Source of all draws.
        frames: Number of poses.

    Returns:
        (frames, 4, 4) ``T_world_camera``.

    Raises:
        RuntimeError: If no path is found in 6000 attempts.
    """
    target = float(rng.uniform(*settings.flow_range))
    best: list[Array] | None = None
    best_score, found = -math.inf, 0
    for attempt in range(6000):
        if attempt >= 1500 and found > 0:
            break
        gap = CLEARANCE_M if attempt < 3000 else 0.6 * CLEARANCE_M
        path = _random_path(scene, rng)
        # A cheap collision check of the planned path before the poses are computed.
        planned = np.stack([path.pose(0.06 * index, index)[:3, 3] for index in range(0, frames, 4)])
        if clearance(scene, planned).min() < gap:
            continue
        walked = _walk(settings, scene, k, path, frames, target, gap)
        if walked is None:
            continue
        found += 1
        if walked[1] > best_score:
            best, best_score = walked
        if found >= 3:
            break
    if best is None:
        raise RuntimeError(
            f"rooms: no camera path has a flow of {target:.3f} image widths in this scene; "
            f"widen flow_range {settings.flow_range}"
        )
    return np.stack(best)
