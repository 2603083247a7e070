"""Videos that are written frame by frame, read back."""

import cv2
import numpy as np
import pytest

from lightning_modules.callbacks import video_file
from lightning_modules.callbacks.video_file import CODECS, USUAL_RATE, VideoFile, frame_rate, usable_codec


def test_a_rate_that_is_unknown_is_the_usual_one():
    assert [frame_rate(rate) for rate in (0.0, float("nan"), -3.0, 1e6)] == [USUAL_RATE] * 4
    assert frame_rate(12.5) == 12.5


def test_frames_come_back_in_their_colours_without_the_padding(tmp_path):
    video = VideoFile(tmp_path / "a.mp4", 10)
    for level in (30, 120, 210):
        picture = np.zeros((31, 45, 3), np.uint8)
        picture[..., 0] = level  # red
        video.add(picture)
    assert not (tmp_path / "a.mp4").exists()
    assert video.finish() == tmp_path / "a.mp4"
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    for level in (30, 120, 210):
        _, frame = capture.read()
        assert frame.shape == (32, 46, 3)
        np.testing.assert_allclose(frame[4:24, 4:36].mean(axis=(0, 1)), (0, 0, level), atol=12)
    assert not capture.read()[0]
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_nothing_is_left_of_a_video_that_is_discarded(tmp_path):
    (tmp_path / "a.mp4").write_text("earlier")
    video = VideoFile(tmp_path / "a.mp4", 10)
    video.discard()
    video.add(np.zeros((32, 32, 3), np.uint8))
    assert len(list(tmp_path.iterdir())) == 2
    video.discard()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]


def test_no_frame_no_codec_and_no_folder_are_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"'a\.mp4' has no frame"):
        VideoFile(tmp_path / "a.mp4", 10).finish()
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"'.*file' is a file, but a folder is needed"):
        VideoFile(tmp_path / "file" / "a.mp4", 10).add(np.zeros((32, 32, 3), np.uint8))
    assert usable_codec() in CODECS
    monkeypatch.setattr(video_file, "CODECS", ("none",))
    with pytest.raises(ValueError, match="can write no MP4 video"):
        VideoFile(tmp_path / "a.mp4", 10).add(np.zeros((32, 32, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
