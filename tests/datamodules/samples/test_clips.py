"""Clips: windows, samples, and augmentation with one draw for all frames."""

import numpy as np
import pytest
import torch

from datamodules.samples.clips import ClipAugmentation, ClipDataset, clip_windows
from datamodules.samples.frame import Frame
from structures.batch import PADDING_INDEX
from structures.clip import source_positions, sources_of, target_of

K = np.array([[30.0, 0, 10.0], [0, 30.0, 9.0], [0, 0, 1]])


class Walk:
    """Frame i has the red level i, lies i * 0.1 m along x, and has a depth of i + 1 metres."""

    def __init__(self, size: int, height: int = 16, width: int = 24) -> None:
        self.size, self.height, self.width = size, height, width

    def __len__(self) -> int:
        return self.size

    def read(self, index: int) -> Frame:
        image = np.random.default_rng(index).integers(40, 200, (self.height, self.width, 3)).astype(np.uint8)
        image[..., 0] = index
        pose = np.eye(4)
        pose[0, 3] = 0.1 * index
        return Frame(
            image=image,
            depth=np.full((self.height, self.width), index + 1, dtype=np.float32),
            K=K.copy(),
            name=f"walk/{index:04d}",
            T_world_camera=pose,
            keypoints=np.array([[3.2, 5.7]], dtype=np.float32),
            vanishing=np.eye(3)[[2, 0, 1]],
        )


def dataset(window: int = 5, stride: int = 1, augmentation: ClipAugmentation | None = None, size: int = 12):
    windows = clip_windows([range(size)], window=window, stride=stride)
    return ClipDataset(Walk(size), windows, image_size=(16, 24), augmentation=augmentation, seed=1)


def test_windows_stay_inside_their_sequence():
    windows = clip_windows([range(6), range(6, 15)], window=5, stride=2)
    assert windows == [(6, 8, 10, 12, 14)]
    assert clip_windows([range(3)], window=1, stride=4) == [(0,), (1,), (2,)]


def test_too_short_a_video_is_an_error_of_one_sentence():
    with pytest.raises(ValueError, match="spans 9 frames, but the longest sequence has 8"):
        clip_windows([range(8)], window=5, stride=2)
    with pytest.raises(ValueError, match="longest sequence has 0"):
        clip_windows([], window=3, stride=1)
    with pytest.raises(ValueError, match="odd"):
        clip_windows([range(8)], window=4, stride=1)


def test_frames_are_in_temporal_order_around_their_target():
    sample = dataset(stride=2)[1]
    assert sample["name"] == "walk/0005"
    levels = (sample["frames"][:, 0, 0, 0] * 255).round().int().tolist()
    assert levels == [1, 3, 5, 7, 9]
    assert torch.equal(sample["frames"][2], sample["image"])
    assert torch.equal(sample["frames"], sample["frames_jittered"])
    assert float(sample["depth"].max()) == 6.0


def test_poses_map_points_of_the_target_into_each_frame():
    sample = dataset()[3]
    # Camera k is 0.1 k further right, so a fixed world point is 0.1 k further left in its frame.
    assert sample["T_frame_target"][:, 0, 3].tolist() == pytest.approx([0.2, 0.1, 0.0, -0.1, -0.2])


def test_evaluation_pads_without_depth():
    sample = dataset()[PADDING_INDEX]
    assert not sample["depth_mask"].any()
    assert int(sample["index"]) == PADDING_INDEX


def test_lone_frames_have_no_neighbours():
    assert "frames" not in dataset(window=1)[0]


def test_one_jitter_and_one_flip_serve_all_frames():
    always = ClipAugmentation(flip=1.0, jitter=1.0, contrast=(1, 1), saturation=(1, 1), hue=0.0)
    plain, augmented = dataset()[4], dataset(augmentation=always)[(0, 4)]
    assert torch.equal(augmented["frames"], plain["frames"].flip(-1))
    ratio = augmented["frames_jittered"] / augmented["frames"].clamp(min=1e-6)
    factors = ratio[:, 1:].flatten(1).median(dim=1).values
    assert factors.tolist() == pytest.approx([float(factors[0])] * 5, abs=1e-4)
    assert abs(float(factors[0]) - 1) > 1e-3


def test_flip_mirrors_camera_motion_key_points_and_directions():
    always = ClipAugmentation(flip=1.0, jitter=0.0)
    plain, flipped = dataset()[4], dataset(augmentation=always)[(0, 4)]
    assert float(flipped["K"][0, 2]) == pytest.approx(24 - float(plain["K"][0, 2]))
    mirror = torch.diag(torch.tensor([-1.0, 1, 1, 1]))
    assert torch.allclose(flipped["T_frame_target"], mirror @ plain["T_frame_target"] @ mirror, atol=1e-6)
    assert torch.equal(flipped["keypoints"], plain["keypoints"].flip(-1))
    assert plain["keypoints"].nonzero().tolist() == [[0, 5, 3]]
    assert torch.equal(flipped["vanishing"], plain["vanishing"] @ mirror[:3, :3])


def test_draws_depend_on_epoch_and_index_alone():
    one, two = (dataset(augmentation=ClipAugmentation()) for _ in range(2))
    assert torch.equal(one[(3, 2)]["frames_jittered"], two[(3, 2)]["frames_jittered"])
    drawn = [one[(epoch, 2)]["frames_jittered"] for epoch in range(6)]
    assert any(not torch.equal(drawn[0], other) for other in drawn[1:])


def test_frames_of_two_sizes_are_refused_by_name():
    class Odd(Walk):
        def read(self, index: int) -> Frame:
            self.width = 26 if index == 3 else 24
            return super().read(index)

    data = ClipDataset(Odd(6), [(1, 2, 3)], image_size=(16, 24))
    with pytest.raises(ValueError, match=r"walk/0001 and walk/0003 .* 24x16 and 26x16"):
        data[0]


def test_frames_of_two_cameras_are_refused():
    class Odd(Walk):
        def read(self, index: int) -> Frame:
            frame = super().read(index)
            frame.K[0, 0] += index == 3
            return frame

    with pytest.raises(ValueError, match="different intrinsics"):
        ClipDataset(Odd(6), [(1, 2, 3)], image_size=(16, 24))[0]


def test_target_and_sources_of_a_batch():
    frames = torch.arange(5.0).view(1, 5, 1, 1, 1).expand(2, 5, 3, 2, 2)
    assert float(target_of(frames)[0, 0, 0, 0]) == 2
    assert sources_of(frames)[1, :, 0, 0, 0].tolist() == [0, 1, 3, 4]
    with pytest.raises(ValueError, match="at least 3"):
        source_positions(1)


@pytest.mark.parametrize("wrong", [{"flip": 1.5}, {"jitter": -0.1}, {"hue": 0.7}, {"brightness": (1.2, 0.8)}])
def test_impossible_augmentations_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ClipAugmentation(**wrong)
