"""Videos of rooms with the effects of a camera: what changes, what does not, and that every frame is the same again."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.rooms.camera_video import image_motion
from datamodules.rooms.settings import plan
from datamodules.rooms.video import RoomsVideoDataModule
from datamodules.samples.camera import CameraEffects, expose, noise_generator, video_gains
from tests.data.make_rooms import TINY
from tests.datamodules.rooms.test_video import module, render_turned

EFFECTS = CameraEffects(
    exposure_stops=0.4, exposure_step_stops=0.1, white_balance_stops=0.2, white_balance_step_stops=0.05,
    shot_noise=0.001, read_noise=0.01, shutter=0.3, jpeg_quality=80,
)  # fmt: skip
STORED = (TINY.height, TINY.width)
COLOURS = ("image", "frames", "frames_jittered")


def dataset(root: Path, split: str, effects: CameraEffects | None, **changes: Any) -> Any:
    data = module(root, camera=effects, window=3, fields=["semantic", "plain", "T_world_camera"], **changes)
    data.setup()
    return data.datasets[split]  # type: ignore[index]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_colours_change_in_every_split_and_nothing_else_does(tmp_path: Path, split: str) -> None:
    clean, camera = (dataset(tmp_path, split, effects)[1] for effects in (None, EFFECTS))
    assert clean.keys() == camera.keys()
    for key, value in clean.items():
        if key in COLOURS:
            assert (value - camera[key]).abs().mean() > 0.01
        elif isinstance(value, str):
            assert camera[key] == value
        else:
            torch.testing.assert_close(camera[key], value, rtol=0, atol=0)


def test_no_camera_and_a_camera_without_effects_are_bit_equal(tmp_path: Path) -> None:
    default = module(tmp_path, window=3)
    default.setup()
    reference: Any = default.datasets["train"]
    for effects in (None, CameraEffects()):
        data = module(tmp_path, window=3, camera=effects)
        data.setup()
        found: Any = data.datasets["train"]
        for key in (0, (3, 2)):
            for name, value in reference[key].items():
                assert torch.equal(found[key][name], value) if torch.is_tensor(value) else found[key][name] == value


def test_a_frame_is_the_same_in_every_clip_process_and_epoch(tmp_path: Path) -> None:
    first, again = (dataset(tmp_path, "train", EFFECTS, cache=cache) for cache in (True, False))
    clips = [first[index]["frames"] for index in range(4)]
    for earlier, later in itertools.pairwise(clips):
        assert torch.equal(earlier[1:], later[:-1])
    assert torch.equal(again[2]["frames"], clips[2])
    assert torch.equal(first[0, 2]["frames"], clips[2])
    assert torch.equal(first[5, 2]["frames"], clips[2])
    other = dataset(tmp_path, "train", CameraEffects(**{**vars(EFFECTS), "seed": 1}))
    assert not torch.equal(other[2]["frames"], clips[2])


def test_frames_are_exposed_with_the_gains_noise_and_motion_of_their_place_in_the_video(tmp_path: Path) -> None:
    found = dataset(tmp_path, "train", EFFECTS, image_size=STORED)
    videos = [s for s in plan(TINY) if s.split == "train" and s.part == "video"]
    per_video = TINY.frames_per_clip - 2
    for number, video in enumerate(videos):
        arrays = render_turned(TINY, video)
        depth = np.rint(arrays["depth"].astype(np.float64) * 5000).astype(np.float32) / 5000
        last = TINY.frames_per_clip - 1
        for k, other in ((0, 1), (last, last - 1)):  # the last frame moves as the one before it
            T = np.linalg.inv(arrays["T_world_camera"][other]) @ arrays["T_world_camera"][k]
            expected = expose(
                arrays["image"][k], EFFECTS,
                gains=video_gains(EFFECTS, video.name, TINY.frames_per_clip)[k],
                motion=image_motion(depth[k], arrays["K"][k], T),
                generator=noise_generator(EFFECTS, video.name, k),
            )  # fmt: skip
            clip = found[number * per_video + (0 if k == 0 else per_video - 1)]["frames"][0 if k == 0 else -1]
            np.testing.assert_allclose(clip.permute(1, 2, 0) * 255, expected, atol=1.01)


def test_image_motion_of_a_shift_a_turn_and_rest() -> None:
    K = np.array([[80.0, 0, 16], [0, 80, 12], [0, 0, 1]])
    depth = np.full((24, 32), 2.0, np.float32)
    depth[:, :5], depth[0] = 4.0, 0.0
    T = np.eye(4)
    np.testing.assert_allclose(image_motion(depth, K, T), 0, atol=1e-5)
    T[0, 3] = 0.1  # points move 0.1 m to the right of the other camera: f t / z pixels
    motion = image_motion(depth, K, T)
    np.testing.assert_allclose(motion[1:, 5:], np.broadcast_to([4.0, 0.0], (23, 27, 2)), atol=1e-5)
    np.testing.assert_allclose(motion[1:, :5, 0], 2.0, atol=1e-5)
    np.testing.assert_array_equal(motion[0], 0)  # unknown depth
    angle = 0.05
    T = np.eye(4)
    T[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]  # a roll about the optical axis
    x, y = 30.5 - 16, 20.5 - 12
    turned = [x * np.cos(angle) - y * np.sin(angle) - x, x * np.sin(angle) + y * np.cos(angle) - y]
    np.testing.assert_allclose(image_motion(depth, K, T)[20, 30], turned, atol=1e-5)


def test_labels_of_other_images_are_not_taken_for_these(tmp_path: Path) -> None:
    keys = [RoomsVideoDataModule(root=str(tmp_path), camera=camera).content_key
            for camera in (None, EFFECTS, CameraEffects(jpeg_quality=80))]  # fmt: skip
    assert len(set(keys)) == 3
    assert all(key.startswith(keys[0]) for key in keys)
    assert "camera" not in keys[0]
