"""Camera paths: optical flow, share of translation, free space."""

from __future__ import annotations

import itertools
import math

import numpy as np

from datamodules.rooms.arrays import EXTENT
from datamodules.rooms.caster import first_hits
from datamodules.rooms.scene import CAMERA, build_scene, stream
from datamodules.rooms.settings import RoomsSettings, plan
from datamodules.rooms.trajectory import clearance, intrinsics, look, optical_flow, still_pose, video_poses
from tests.datamodules.rooms.reference import BALL, SIZE, pixel_rays, small_scene

HEIGHT, WIDTH = 48, 64


def test_look_gives_a_right_handed_camera() -> None:
    pose = look((1.0, 2.0, 1.5), 0.0, 0.0, 0.0)
    # Towards +x: the image's right is -y, its down is -z.
    np.testing.assert_allclose(pose[:3, :3], [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], atol=1e-15)
    tilted = look((0.0, 0.0, 0.0), 0.7, -0.3, 0.1)
    np.testing.assert_allclose(tilted[:3, :3] @ tilted[:3, :3].T, np.eye(3), atol=1e-12)
    assert math.isclose(np.linalg.det(tilted[:3, :3]), 1.0, abs_tol=1e-12)
    assert tilted[2, 2] < 0  # negative pitch looks down


def test_flow_of_a_sideways_step_has_its_closed_form() -> None:
    k = np.array([[60.0, 0, 32], [0, 60.0, 24], [0, 0, 1]])
    depth = np.full((48, 64), 2.5)
    first = look((1.0, 1.0, 1.0), 0.4, 0.0, 0.0)
    second = first.copy()
    second[:3, 3] += 0.05 * first[:3, 0]
    total, alone = optical_flow(depth, k, first, second)
    np.testing.assert_allclose(total, 60.0 * 0.05 / 2.5, rtol=1e-9)
    np.testing.assert_allclose(alone, total, rtol=1e-9)
    total, alone = optical_flow(depth, k, first, look((1.0, 1.0, 1.0), 0.42, 0.0, 0.0))
    np.testing.assert_allclose(alone, 0.0, atol=1e-9)
    assert math.isclose(float(total[24, 32]), 60.0 * math.tan(0.02), rel_tol=0.02)


def test_clearance_of_known_points() -> None:
    scene = small_scene()
    np.testing.assert_allclose(scene.size, SIZE)
    ball = np.array(BALL[0])
    points = np.array([[0.2, 1.0, 1.2], ball + np.array([0.0, -BALL[1] - 0.1, 0.0]), ball])
    measured = clearance(scene, points)
    np.testing.assert_allclose(measured[:2], [0.2, 0.1], atol=1e-12)
    assert measured[2] < 0
    assert scene.render.geometry[0, EXTENT] == SIZE[0] / 2


def test_clips_keep_flow_translation_and_distance() -> None:
    settings = RoomsSettings()
    videos = [s for s in plan(settings) if s.part == "video"]
    for sequence in videos[::9]:
        scene = build_scene(settings, sequence.scene_seed)
        camera = stream(sequence.scene_seed, CAMERA)
        k = intrinsics(settings, camera)
        poses = video_poses(settings, scene, k, camera, sequence.n_frames)
        small = np.diag([WIDTH / settings.width, HEIGHT / settings.height, 1.0]) @ k
        whole, part = [], []
        for first, second in itertools.pairwise(poses):
            depth, _, _ = first_hits(scene, first, small, HEIGHT, WIDTH)
            # Flow by projecting world points, and translation by the same points seen without the turn of the camera.
            points = first[:3, 3] + depth.reshape(-1, 1) * pixel_rays(first, small, HEIGHT, WIDTH)
            start = np.stack(np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5), axis=-1).reshape(-1, 2)
            for turn, found in ((second[:3, :3], whole), (first[:3, :3], part)):
                seen = (points - second[:3, 3]) @ turn @ small.T
                found.append(np.median(np.linalg.norm(seen[:, :2] / seen[:, 2:] - start, axis=1)) / WIDTH)
        assert 0.015 <= np.median(whole) <= 0.04, sequence.name
        assert min(whole) > 0.012, sequence.name
        assert max(whole) < 0.045, sequence.name
        assert np.median(part) >= 0.5 * np.median(whole), sequence.name
        assert clearance(scene, poses[:, :3, 3]).min() >= 0.2, sequence.name
        # Smooth: the camera never turns by more than two degrees between frames.
        turns = np.einsum("nij,nij->n", poses[:-1, :3, :3], poses[1:, :3, :3])
        assert np.degrees(np.arccos(np.clip((turns - 1) / 2, -1, 1))).max() < 2.0


def test_stills_stand_in_free_space() -> None:
    settings = RoomsSettings()
    distances = []
    for sequence in [s for s in plan(settings) if s.part == "still"][:40]:
        scene = build_scene(settings, sequence.scene_seed)
        camera = stream(sequence.scene_seed, CAMERA)
        pose = still_pose(settings, scene, intrinsics(settings, camera), camera)
        distances.append(clearance(scene, pose[None, :3, 3])[0])
        assert 1.0 <= pose[2, 3] <= 1.7
    assert min(distances) >= 0.17
    assert np.mean(np.array(distances) >= 0.35) > 0.95
