"""Videos of frames beside their depth, read back."""

import cv2
import numpy as np
import pytest
import torch

from lightning_modules.callbacks import depth_video, video_file
from lightning_modules.callbacks.depth_video import DepthVideo, smoothed_ends


def ramp(low, high, size=(48, 64)):
    return torch.linspace(low, high, size[1]).expand(1, *size).clone()


def read(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (found := capture.read())[0]:
        frames.append(found[1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


def filled(path, count=5, size=(48, 64), **settings):
    video = DepthVideo(path, **({"name": "clip", "rate": 12.0, "unit": "m"} | settings))
    for index in range(count):
        video.add(np.full((*size, 3), 40 * index, np.uint8), ramp(1 + index, 3 + index, size))
    return video


@pytest.mark.parametrize("size", [(48, 64), (101, 67), (30, 400), (1, 1)])
@pytest.mark.parametrize("codec", video_file.CODECS)
def test_it_has_as_many_frames_of_one_size(tmp_path, monkeypatch, size, codec):
    monkeypatch.setattr(video_file, "CODECS", (codec,))
    assert filled(tmp_path / "below" / "a.mp4", size=size).write((1.0, 7.0)) == tmp_path / "below" / "a.mp4"
    frames, rate = read(tmp_path / "below" / "a.mp4")
    assert len(frames) == 5
    assert rate == pytest.approx(12)
    assert len({frame.shape for frame in frames}) == 1
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["a.mp4"]


def test_one_range_holds_for_all_frames_unless_it_is_smoothed(tmp_path, monkeypatch):
    ranges = []
    drawn = depth_video.depth_picture

    def noting(depth, near, far, *, unit):
        ranges.append((near, far))
        return drawn(depth, near, far, unit=unit)

    monkeypatch.setattr(depth_video, "depth_picture", noting)
    filled(tmp_path / "a.mp4", count=3).write((1.0, 7.0))
    assert ranges == [(1.0, 7.0)] * 3
    ranges.clear()
    filled(tmp_path / "a.mp4", count=3).write()
    whole = np.quantile(np.concatenate([np.linspace(1 + k, 3 + k, 64) for k in range(3)]), [0.02, 0.98])
    np.testing.assert_allclose(ranges, [whole] * 3, rtol=0.03)
    ranges.clear()
    filled(tmp_path / "a.mp4", count=3, smooth_frames=2.0).write((1.0, 7.0))
    own = [np.quantile(np.linspace(1 + k, 3 + k, 64), [0.02, 0.98]) for k in range(3)]
    kept = np.exp(-1 / 2)
    expected = [np.log(own[0])]
    for ends in own[1:]:
        expected.append(kept * expected[-1] + (1 - kept) * np.log(ends))
    np.testing.assert_allclose(np.log(ranges), expected, atol=0.02)


def test_a_frame_without_depth_keeps_the_range():
    assert smoothed_ends((2.0, 5.0), torch.zeros(1, 4, 4), 3.0) == (2.0, 5.0)
    near, far = smoothed_ends(None, torch.zeros(1, 4, 4), 3.0)
    assert 0 < near < far


def test_no_frame_no_codec_and_no_folder_are_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="the video 'clip' has no frame that could be predicted"):
        filled(tmp_path / "a.mp4", count=0).write()
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"'.*file' is a file, but a folder is needed"):
        filled(tmp_path / "file" / "a.mp4").write()
    monkeypatch.setattr(video_file, "CODECS", ("none",))
    with pytest.raises(ValueError, match="can write no MP4 video"):
        filled(tmp_path / "a.mp4").write()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("frames", [-1.0, float("nan"), float("inf")])
def test_smoothing_over_no_number_of_frames_is_refused(tmp_path, frames):
    with pytest.raises(ValueError, match="smooth_frames is"):
        DepthVideo(tmp_path / "a.mp4", name="a", rate=10, unit="m", smooth_frames=frames)
