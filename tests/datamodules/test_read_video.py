"""Complete videos are read for any announced frame count, and incomplete ones are detected."""

from pathlib import Path

import pytest

from datamodules.files.video import frame_rate, read_video
from datamodules.files.video_container import inspect
from tests.data.make_videos import (
    CODES,
    FRAMES,
    HEIGHT,
    WIDTH,
    announce_more,
    as_stream,
    blank,
    index_first,
    tear,
    trim_by_edit_list,
    write_video,
)


def levels(path: Path) -> list[float]:
    return [float(frame.mean()) for frame in read_video(path)]


@pytest.mark.parametrize("suffix", CODES)
def test_every_container_gives_its_frames_in_order(tmp_path: Path, suffix: str) -> None:
    read = levels(write_video(tmp_path / f"whole{suffix}"))
    assert read == pytest.approx([4 * frame + 3.5 for frame in range(FRAMES)], abs=4)
    assert inspect(tmp_path / f"whole{suffix}").whole


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_trimmed_video_gives_the_frames_of_its_edit_list(tmp_path: Path, suffix: str) -> None:
    path = trim_by_edit_list(write_video(tmp_path / f"trimmed{suffix}"), first=10, count=40)
    assert inspect(path).frames == 40
    read = levels(path)
    assert len(read) == pytest.approx(40, abs=1)
    assert read[0] == pytest.approx(43.5, abs=4)
    tear(index_first(path), 0.6)
    with pytest.raises(ValueError, match=r"trimmed.* is cut off after \d+ frames: its part 'mdat' ends at byte"):
        levels(path)


@pytest.mark.parametrize("suffix", [".webm", ".mkv"])
def test_variable_rate_is_read_with_a_warning(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    path = announce_more(write_video(tmp_path / f"variable{suffix}"), 1.5)
    assert len(levels(path)) == FRAMES
    assert caplog.messages == [
        f"video '{path}' has 60 frames where 90 are announced; its container is complete, so its rate may vary."
    ]


def test_stream_without_a_size_is_judged_by_its_clusters(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = as_stream(announce_more(write_video(tmp_path / "stream.webm"), 1.5))
    assert len(levels(path)) == FRAMES
    with pytest.raises(ValueError, match=r"stream.webm' is cut off after \d+ frames: its part 'Cluster' ends at byte"):
        levels(tear(path, 0.7))
    assert caplog.messages == [
        f"video '{path}' has 60 frames where 90 are announced; its container does not show whether it is complete."
    ]


@pytest.mark.parametrize("share", [0.4, 0.9])
@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".webm"])
def test_truncated_video_is_an_error_after_its_frames(tmp_path: Path, suffix: str, share: float) -> None:
    path = tear(write_video(tmp_path / f"torn{suffix}"), share)
    frames = read_video(path)
    assert next(frames).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ValueError, match=rf"torn{suffix}' is cut off after \d+ frames: its part '\w+.*copy it again$"):
        list(frames)


def test_truncated_mp4_is_an_error_for_any_position_of_its_index(tmp_path: Path) -> None:
    path = tear(index_first(write_video(tmp_path / "front.mp4")), 0.7)
    with pytest.raises(
        ValueError, match=r"cut off after \d+ frames: its part 'mdat' ends at byte \d+, but the file at"
    ):
        levels(path)
    path = tear(write_video(tmp_path / "behind.mp4"), 0.7)
    with pytest.raises(ValueError, match=r"cannot read '.*behind.mp4' as a video: its part 'm\w+' ends at byte"):
        levels(path)
    whole = write_video(tmp_path / "closed.mp4").read_bytes()
    path.write_bytes(whole[: whole.index(b"moov") - 4])
    with pytest.raises(ValueError, match=r"it has no index \(moov\): recording or copying it was not finished"):
        levels(path)


@pytest.mark.parametrize(("suffix", "begin", "end"), [(".mp4", 0.2, 0.5), (".avi", 0.4, 0.8)])
def test_damage_inside_is_an_error(tmp_path: Path, suffix: str, begin: float, end: float) -> None:
    path = blank(write_video(tmp_path / f"hole{suffix}"), begin, end)
    with pytest.raises(ValueError, match=r"is damaged: only \d+ of the 60 frames in its index can be decoded"):
        levels(path)


def test_trailing_data_are_ignored(tmp_path: Path) -> None:
    for suffix in (".mp4", ".avi", ".mkv"):
        path = write_video(tmp_path / f"longer{suffix}")
        path.write_bytes(path.read_bytes() + b"\x7f\xff\xff\xffSEFT" + b"more of a camera's own")
        assert len(levels(path)) == FRAMES


def test_files_that_are_no_video_have_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "folder.mp4").mkdir()
    for name, reason in (("empty", "as a video"), ("folder", "it is a folder"), ("none", "No such file")):
        with pytest.raises(ValueError, match=rf"cannot read '.*{name}.mp4' as a video.*") as caught:
            levels(tmp_path / f"{name}.mp4")
        assert reason in str(caught.value)


def test_the_frame_rate_is_that_of_the_file(tmp_path: Path) -> None:
    import cv2
    import numpy as np

    writer = cv2.VideoWriter(str(tmp_path / "a.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 12.5, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    assert frame_rate(tmp_path / "a.mp4") == pytest.approx(12.5)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    assert frame_rate(tmp_path / "b.mp4") == 0
