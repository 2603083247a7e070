"""Rendered sequences: geometry, labels, colours and their agreement between frames."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from datamodules.rooms.arrays import CAMOUFLAGED, GLOSSY, PLAIN
from datamodules.rooms.categories import CATEGORY_ID, THING_IDS
from datamodules.rooms.frame import render_sequence
from datamodules.rooms.scene import CAMERA, build_scene, stream
from datamodules.rooms.settings import RoomsSettings, plan
from datamodules.rooms.trajectory import intrinsics, still_pose

SMALL = RoomsSettings(height=48, width=64)
CLEAN = RoomsSettings(height=96, width=128, noise_range=(0.0, 0.0), vignetting_range=(0.0, 0.0))

Frames = dict[str, np.ndarray]


@cache
def sequence(settings: RoomsSettings, part: str, index: int, frames: int | None = None) -> Frames:
    """Return one sequence of the plan, optionally with fewer frames."""
    chosen = [s for s in plan(settings) if s.part == part][index]
    if frames is not None:
        chosen = dataclasses.replace(chosen, n_frames=frames)
    return render_sequence(settings, chosen)


def stills(settings: RoomsSettings, count: int) -> Frames:
    """Return the first stills, stacked."""
    each = [sequence(settings, "still", index) for index in range(count)]
    return {name: np.concatenate([frames[name] for frames in each]) for name in each[0]}


def world_points(frames: Frames, index: int) -> np.ndarray:
    """Return the world points (H, W, 3) of a frame."""
    depth = frames["depth"][index].astype(np.float64)
    y, x = np.mgrid[0 : depth.shape[0], 0 : depth.shape[1]] + 0.5
    k, pose = frames["K"][index], frames["T_world_camera"][index]
    camera = np.stack([(x - k[0, 2]) / k[0, 0], (y - k[1, 2]) / k[1, 1], np.ones_like(x)], axis=-1) * depth[..., None]
    return camera @ pose[:3, :3].T + pose[:3, 3]


def distance_from_plane(points: np.ndarray) -> float:
    """Largest distance in metres of points ``(N, 3)`` from the plane fitted to them."""
    centred = points - points.mean(axis=0)
    return float(np.abs(centred @ np.linalg.svd(centred, full_matrices=False)[2][2]).max())


def test_arrays_have_the_agreed_form() -> None:
    frames = sequence(SMALL, "video", 0)
    shape = (SMALL.frames_per_clip, 48, 64)
    expected = {
        "image": ((*shape, 3), np.uint8), "depth": (shape, np.float32), "K": ((24, 3, 3), np.float64),
        "T_world_camera": ((24, 4, 4), np.float64), "semantic": (shape, np.uint8), "instance": (shape, np.uint16),
        "plane": (shape, np.uint16), "flags": (shape, np.uint8),
    }  # fmt: skip
    assert {name: (array.shape, array.dtype.type) for name, array in frames.items()} == expected


def test_depth_poses_and_labels_are_sound() -> None:
    frames = stills(SMALL, 40)
    assert frames["depth"].min() > 0.05
    assert frames["depth"].max() < 10.0
    rotation = frames["T_world_camera"][:, :3, :3]
    np.testing.assert_allclose(
        rotation @ rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(3), rotation.shape), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-12)
    np.testing.assert_array_equal(frames["T_world_camera"][:, 3], np.tile([0.0, 0.0, 0.0, 1.0], (40, 1)))
    assert (rotation[:, 2, 1] < -0.8).all()  # the camera's y axis points down
    np.testing.assert_array_equal(np.isin(frames["semantic"], THING_IDS), frames["instance"] > 0)
    assert frames["semantic"].min() >= 1
    # Every instance has one class.
    for index in range(40):
        pairs = np.unique(np.stack([frames["instance"][index], frames["semantic"][index]]).reshape(2, -1), axis=1)
        things = pairs[0][pairs[0] > 0]
        assert len(things) == len(np.unique(things))
    # The rooms are furnished and most views show floor and several things.
    floor = (frames["semantic"] == CATEGORY_ID["floor"]).mean(axis=(1, 2))
    assert np.mean(floor > 0.03) > 0.8
    assert np.median([len(np.unique(instance)) for instance in frames["instance"]]) >= 5


def test_views_of_a_still_share_room_and_camera_and_the_first_is_the_single_one() -> None:
    many = sequence(dataclasses.replace(CLEAN, views_per_still=6), "still", 3)
    single = sequence(CLEAN, "still", 3)
    for name, values in single.items():
        np.testing.assert_array_equal(many[name][:1], values, err_msg=name)
    np.testing.assert_array_equal(many["K"], np.broadcast_to(single["K"], (6, 3, 3)))
    # The single view is what it was before there were several: its pose follows K in one stream.
    (plain,) = [s for s in plan(CLEAN) if s.name == "still/train/0003"]
    camera = stream(plain.scene_seed, CAMERA)
    k = intrinsics(CLEAN, camera)
    pose = still_pose(CLEAN, build_scene(CLEAN, plain.scene_seed), k, camera)
    np.testing.assert_array_equal(single["T_world_camera"], pose[None])
    positions = many["T_world_camera"][:, :3, 3]
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1) + 9 * np.eye(6)
    assert apart.min() > 0.01
    # The meter brings every view to about the same grey, which the light of one view would not do for the others.
    grey = many["image"].mean(axis=(1, 2, 3))
    assert grey.max() - grey.min() < 25
    # One room: a plane id names the same plane in every view.
    compared = 0
    for plane in np.unique(many["plane"]):
        chosen = [world_points(many, view)[many["plane"][view] == plane] for view in range(6)]
        points = np.concatenate(chosen)
        if plane == 0 or sum(len(c) > 30 for c in chosen) < 2:
            continue
        assert distance_from_plane(points) < 1e-4
        compared += 1
    assert compared > 5


def test_views_have_noise_of_their_own() -> None:
    noisy = dataclasses.replace(SMALL, views_per_still=3, noise_range=(0.05, 0.05))
    clean = dataclasses.replace(noisy, noise_range=(0.0, 0.0))
    a, b = (sequence(s, "still", 1)["image"].astype(float) for s in (noisy, clean))
    residual = (a - b).reshape(3, -1)
    correlation = np.corrcoef(residual)
    assert np.abs(correlation[np.triu_indices(3, 1)]).max() < 0.1


def test_points_of_a_plane_id_lie_on_one_plane() -> None:
    checked = 0
    for index in range(12):
        frames = sequence(CLEAN, "still", index)
        points = world_points(frames, 0)
        for plane in np.unique(frames["plane"][0]):
            chosen = points[frames["plane"][0] == plane]
            if plane == 0 or len(chosen) < 30:
                continue
            assert distance_from_plane(chosen) < 1e-4
            checked += 1
    assert checked > 60


def test_plane_ids_keep_their_plane_in_a_clip() -> None:
    frames = sequence(SMALL, "video", 1)
    fitted: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    compared = 0
    for index in range(0, 24, 3):
        points = world_points(frames, index)
        for plane in np.unique(frames["plane"][index]):
            chosen = points[frames["plane"][index] == plane]
            if plane == 0 or len(chosen) < 20:
                continue
            if plane in fitted:
                center, normal = fitted[plane]
                assert np.abs((chosen - center) @ normal).max() < 2e-3
                compared += 1
            else:
                axes = np.linalg.svd(chosen - chosen.mean(axis=0), full_matrices=False)
                if axes[1][1] > 0.3:  # wide enough in both directions to fix the normal
                    fitted[plane] = (chosen.mean(axis=0), axes[2][2])
    assert compared > 20


def test_tables_and_doors_have_real_sizes() -> None:
    frames = stills(SMALL, 60)
    tops, doors = [], []
    for index in range(60):
        points = world_points(frames, index)
        for name, found in (("table", tops), ("door", doors)):
            for instance in np.unique(frames["instance"][index][frames["semantic"][index] == CATEGORY_ID[name]]):
                mask = frames["instance"][index] == instance
                if mask.sum() > 60:
                    found.append(points[mask][:, 2].max())
    assert len(tops) > 15
    assert all(0.38 < top < 0.47 or 0.70 < top < 0.77 for top in tops if top > 0.35)
    assert 1.95 < max(doors) < 2.15


def test_next_frame_is_predicted_by_depth_and_pose() -> None:
    errors, unmoved = [], []
    for clip in range(3):
        frames = sequence(CLEAN, "video", clip)
        for index in (0, 8, 16):
            points = world_points(frames, index)
            k, pose = frames["K"][index], frames["T_world_camera"][index + 1]
            camera = (points - pose[:3, 3]) @ pose[:3, :3]
            u = k[0, 0] * camera[..., 0] / camera[..., 2] + k[0, 2] - 0.5
            v = k[1, 1] * camera[..., 1] / camera[..., 2] + k[1, 2] - 0.5
            x, y = np.floor(u).astype(int), np.floor(v).astype(int)
            inside = (x >= 0) & (y >= 0) & (x < 127) & (y < 95)
            x, y = np.clip(x, 0, 126), np.clip(y, 0, 94)
            a, b = (u - x)[..., None], (v - y)[..., None]
            image = frames["image"].astype(np.float64)
            after = image[index + 1]
            sampled = (
                (1 - a) * (1 - b) * after[y, x] + a * (1 - b) * after[y, x + 1]
                + (1 - a) * b * after[y + 1, x] + a * b * after[y + 1, x + 1]
            )  # fmt: skip
            depth = frames["depth"][index + 1].astype(np.float64)
            visible = (
                inside
                & (np.abs(depth[y, x] - camera[..., 2]) < 0.03)
                & (np.abs(depth[y + 1, x + 1] - camera[..., 2]) < 0.03)
            )
            textured = visible & (frames["flags"][index] & (PLAIN | GLOSSY) == 0)
            errors.append(np.abs(sampled - image[index])[textured].mean(axis=-1))
            unmoved.append(np.abs(after - image[index])[textured].mean(axis=-1))
    right, wrong = np.concatenate(errors), np.concatenate(unmoved)
    assert len(right) > 5000
    assert np.median(right) < 3.5  # grey levels of 255
    assert right.mean() < 0.5 * wrong.mean()


def digest(frames: Frames) -> str:
    """Return the SHA-256 of all arrays."""
    return hashlib.sha256(b"".join(frames[name].tobytes() for name in sorted(frames))).hexdigest()


def test_another_process_and_order_give_the_same_bits() -> None:
    code = (
        "import tests.datamodules.rooms.test_frame as t\n"
        "print([t.digest(t.sequence(t.SMALL, 'still', i)) for i in (3, 0, 1)])\n"
        "print([t.digest(t.sequence(t.SMALL, 'video', 5, 4))])\n"
    )
    root = Path(__file__).parents[3]
    other = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    clip = [digest(sequence(SMALL, "video", 5, 4))]
    here = [digest(sequence(SMALL, "still", index)) for index in (0, 1, 3)]
    assert other == f"{[here[2], here[0], here[1]]}\n{clip}\n"


def wall_fraction(settings: RoomsSettings, count: int) -> float:
    """Return the share of plain pixels among wall pixels."""
    frames = stills(settings, count)
    wall = (frames["semantic"] == CATEGORY_ID["wall"]) & (frames["plane"] >= 1) & (frames["plane"] <= 4)
    return float(np.mean((frames["flags"][wall] & PLAIN) > 0))


@pytest.mark.parametrize(("fraction", "tolerance"), [(0.0, 0.0), (0.6, 0.1), (1.0, 0.0)])
def test_share_of_plain_walls_follows_its_setting(fraction: float, tolerance: float) -> None:
    count = 60 if tolerance > 0 else 5
    measured = wall_fraction(dataclasses.replace(SMALL, plain_wall_fraction=fraction), count)
    assert abs(measured - fraction) <= tolerance


def test_camouflage_gloss_mirrors_focal_length_and_noise_follow_their_settings() -> None:
    none = stills(
        dataclasses.replace(SMALL, camouflage_fraction=0.0, glossy_floor_fraction=0.0, mirror_fraction=0.0), 12
    )
    much = stills(
        dataclasses.replace(SMALL, camouflage_fraction=1.0, glossy_floor_fraction=1.0, mirror_fraction=1.0), 12
    )
    things = much["instance"] > 0
    assert not (none["flags"] & CAMOUFLAGED).any()
    assert np.mean((much["flags"][things] & CAMOUFLAGED) > 0) > 0.5
    assert not (much["flags"][~things] & CAMOUFLAGED).any()
    floor = CATEGORY_ID["floor"]
    assert not (none["flags"][none["semantic"] == floor] & GLOSSY).any()
    assert ((much["flags"][much["semantic"] == floor] & GLOSSY) > 0).all()
    assert not (none["semantic"] == CATEGORY_ID["mirror"]).any()
    assert (much["semantic"] == CATEGORY_ID["mirror"]).any()
    focal = stills(dataclasses.replace(SMALL, focal_range=(1.2, 1.3)), 5)["K"][:, 0, 0] / 64
    assert ((focal >= 1.2) & (focal <= 1.3)).all()
    quiet = sequence(dataclasses.replace(SMALL, noise_range=(0.0, 0.0)), "still", 0)["image"].astype(int)
    noisy = sequence(dataclasses.replace(SMALL, noise_range=(0.05, 0.05)), "still", 0)["image"].astype(int)
    assert 5.0 < np.std(noisy - quiet) < 20.0
