"""Data module of user videos: samples, disjoint splits, and error messages for invalid data."""

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from datamodules.image_sequences.frame_files import match_depths
from datamodules.image_sequences.frames_video import FramesVideoDataModule
from tests.data.make_frames_video import (
    HEIGHT,
    WIDTH,
    make_frames_video,
    true_depth_mm,
    true_image,
    write_camera,
    write_video_file,
)


def module(root: Path, **changes: Any) -> FramesVideoDataModule:
    defaults = {"batch_size": 2, "image_size": (HEIGHT, WIDTH), "window": 3, "test": "8-11"}
    return FramesVideoDataModule(str(root), **(defaults | changes))


def test_clips_equal_the_written_frames(tmp_path: Path) -> None:
    make_frames_video(tmp_path / "color", depth=tmp_path / "depth")
    data = module(tmp_path / "color", depth_root=str(tmp_path / "depth"))
    data.prepare_data()
    data.setup()
    assert {split: len(dataset) for split, dataset in data.datasets.items()} == {"train": 6, "val": 2, "test": 2}
    sample = data.datasets["test"][1]
    assert sample["name"] == "frame_10"  # the frames are 8 to 11 in natural order, not 8, 9, 0, 1
    np.testing.assert_allclose(sample["image"].permute(1, 2, 0), true_image(10) / 255, atol=1e-6)
    for position, frame in enumerate((9, 10, 11)):
        np.testing.assert_allclose(sample["frames"][position].permute(1, 2, 0), true_image(frame) / 255, atol=1e-6)
    np.testing.assert_allclose(sample["depth"][0], true_depth_mm(10) / 1000, rtol=1e-6)
    assert not sample["depth_mask"][0, 0].any()
    assert sample["depth_mask"][0, 1:].all()
    np.testing.assert_allclose(sample["K"], [[60, 0, 32], [0, 62, 24], [0, 0, 1]])
    assert sample["K_known"]
    batch = next(iter(data.train_dataloader()))
    assert batch["frames"].shape == (2, 3, 3, HEIGHT, WIDTH)  # type: ignore[typeddict-item]


def test_depth_is_unknown_without_depth_files(tmp_path: Path) -> None:
    data = module(make_frames_video(tmp_path))
    data.setup()
    sample = data.datasets["train"][0]
    assert not sample["depth"].any()
    assert not sample["depth_mask"].any()


def test_size_and_k_follow_the_samples(tmp_path: Path) -> None:
    data = module(make_frames_video(tmp_path), image_size=(24, 32))
    data.setup("test")
    sample = data.datasets["test"][0]
    assert sample["frames"].shape == (3, 3, 24, 32)
    np.testing.assert_allclose(sample["K"], [[30, 0, 16], [0, 31, 12], [0, 0, 1]])


def test_every_frame_can_be_evaluated_by_itself(tmp_path: Path) -> None:
    root = make_frames_video(tmp_path / "color", depth=tmp_path / "depth")
    data = module(root, evaluation="frames", depth_root=str(tmp_path / "depth"))
    data.setup()
    assert [data.datasets["test"][index]["name"] for index in range(4)] == [f"frame_{index}" for index in range(8, 12)]
    assert "frames" not in data.datasets["val"][0]
    assert "frames" in data.datasets["train"][0]


def test_no_frame_is_shared_between_training_and_test_and_no_clip_crosses_a_gap(tmp_path: Path) -> None:
    data = module(make_frames_video(tmp_path, frames=20), test="6-9", val="16-19", stride=1)
    data.setup()
    names: dict[str, set[str]] = {}
    for split, dataset in data.datasets.items():
        source, windows = dataset.source, dataset.windows  # type: ignore[attr-defined]
        clips = [[int(source.read(i).name.split("_")[1]) for i in window] for window in windows]
        assert all(np.diff(clip).tolist() == [1, 1] for clip in clips)
        names[split] = {frame for clip in clips for frame in clip}
    assert names == {"train": {*range(6), *range(10, 16)}, "val": {*range(16, 20)}, "test": {*range(6, 10)}}
    assert not data.val_is_test


def test_clips_stay_in_their_sequence_and_names_tell_them_apart(tmp_path: Path) -> None:
    make_frames_video(tmp_path / "kitchen", frames=6, camera=False)
    make_frames_video(tmp_path / "office", frames=5, seed=1)
    make_frames_video(tmp_path / "hall", frames=4, seed=2, camera=False)
    write_camera(tmp_path / "camera.yaml", fx=70.0)
    data = module(tmp_path, test="hall")
    data.setup()
    assert [data.datasets["train"][i]["name"] for i in range(7)] == [
        *(f"kitchen/frame_{i}" for i in range(1, 5)),
        *(f"office/frame_{i}" for i in range(1, 4)),
    ]
    assert data.datasets["test"][0]["name"] == "hall/frame_1"
    # The office has its own camera file, the others use that of the root.
    assert data.datasets["train"][0]["K"][0, 0] == 70
    assert data.datasets["train"][6]["K"][0, 0] == 60


def test_default_split_holds_a_clip(tmp_path: Path) -> None:
    data = module(make_frames_video(tmp_path), test=None, window=5)
    data.setup()
    assert {split: len(dataset) for split, dataset in data.datasets.items()} == {"train": 3, "val": 1, "test": 1}
    assert data.val_is_test


def test_still_frames_are_left_out_of_training_only(tmp_path: Path) -> None:
    make_frames_video(tmp_path)
    for frame in range(5):
        cv2.imwrite(str(tmp_path / f"frame_{frame}.png"), true_image(4)[..., ::-1])
    data = module(tmp_path, test="0-3")
    data.setup()
    assert [data.datasets["train"][i]["name"] for i in range(len(data.datasets["train"]))] == [  # type: ignore[arg-type]
        f"frame_{i}" for i in range(5, 11)
    ]
    assert len(data.datasets["test"]) == 2  # type: ignore[arg-type]
    off = module(tmp_path, test="8-11", min_flow=None)
    off.setup("fit")
    assert len(off.datasets["train"]) == 6  # type: ignore[arg-type]


def test_stride_follows_the_motion(tmp_path: Path) -> None:
    # 1 pixel a frame is 0.0156 widths, so 0.04 takes three frames.
    data = module(make_frames_video(tmp_path, frames=30, speed=1.0), test="20-29", target_flow=0.04)
    data.setup("fit")
    strides = [window[1] - window[0] for window in data.datasets["train"].windows]  # type: ignore[attr-defined]
    assert strides == [1, 2] + [3] * 14 + [2, 1]


def test_video_file_is_read_at_a_reduced_size(tmp_path: Path) -> None:
    write_camera(tmp_path / "camera.yaml")
    data = module(write_video_file(tmp_path / "walk.avi"), image_size=(24, 24))
    data.setup()
    sample = data.datasets["test"][1]
    assert sample["name"] == "000010"
    source = data.make_source("test")
    frame = source.read(2)
    assert frame.image.shape == (24, 32, 3)  # covers the samples in the proportions of the video
    np.testing.assert_allclose(frame.K, [[30, 0, 16], [0, 31, 12], [0, 0, 1]])
    expected = cv2.resize(true_image(10), (32, 24), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(frame.image - expected).mean() < 4  # JPEG
    np.testing.assert_allclose(sample["K"], [[22.5, 0, 12], [0, 31, 12], [0, 0, 1]])
    whole = module(tmp_path / "walk.avi", oversampling=None, cache=False)
    assert whole.make_source("test").read(0).image.shape == (HEIGHT, WIDTH, 3)


def test_camera_is_guessed_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b"):
        make_frames_video(tmp_path / name, frames=4, camera=False)
    data = module(tmp_path, test="b", default_field_of_view_degrees=90.0)
    data.setup()
    sample = data.datasets["test"][0]
    np.testing.assert_allclose(sample["K"], [[32, 0, 32], [0, 32, 24], [0, 0, 1]])
    assert not sample["K_known"]
    warnings = [record.getMessage() for record in caplog.records if "field of view" in record.getMessage()]
    assert warnings == [f"{tmp_path} has no camera.yaml: a horizontal field of view of 90 degrees is assumed."]


def test_camera_can_lie_elsewhere(tmp_path: Path) -> None:
    path = write_camera(tmp_path / "phone.yaml", fx=75.0)
    data = module(make_frames_video(tmp_path / "frames"), camera=str(path))
    data.setup("test")
    assert data.datasets["test"][0]["K"][0, 0] == 75


def test_image_and_depth_are_undistorted_together(tmp_path: Path) -> None:
    make_frames_video(tmp_path / "color", depth=tmp_path / "depth")
    write_camera(tmp_path / "color" / "camera.yaml", distortion=[-0.3, 0.05, 0.0, 0.0, 0.0])
    for frame in range(12):  # depth = red channel + 1, so that both have to move alike
        image = np.repeat(true_image(frame)[..., :1], 3, axis=2)
        cv2.imwrite(str(tmp_path / "color" / f"frame_{frame}.png"), image)
        cv2.imwrite(str(tmp_path / "depth" / f"frame_{frame}.png"), image[..., 0].astype(np.uint16) + 1)
    frame = module(tmp_path / "color", depth_root=str(tmp_path / "depth")).make_source("test").read(0)
    assert not np.array_equal(frame.image, np.repeat(true_image(8)[..., :1], 3, axis=2))
    known = frame.depth > 0
    assert known.mean() > 0.95
    difference = np.abs(frame.depth * 1000 - 1 - frame.image[..., 0])[known]
    assert difference.mean() < 5  # nearest against bilinear on a smooth picture
    assert abs(frame.K[0, 0] - 60) > 0.5  # the new view is narrower or wider, and K says so


def test_depth_is_matched_by_number_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = [tmp_path / "color" / f"rgb_{i}.jpg" for i in (1, 2, 10)]
    (tmp_path / "depth").mkdir()
    for name in ("d_00002.png", "d_00010.png", "d_00001.png", "notes.txt"):
        (tmp_path / "depth" / name).write_bytes(b"")
    found = match_depths(images, tmp_path / "depth")
    assert [path.name for path in found if path] == ["d_00001.png", "d_00002.png", "d_00010.png"]
    assert caplog.messages == [
        f"{tmp_path / 'depth'}: 3 images and depths paired by equal numbers: first rgb_1.jpg + d_00001.png, middle "
        "rgb_2.jpg + d_00002.png, last rgb_10.jpg + d_00010.png."
    ]


def test_frames_without_a_depth_of_their_time_are_kept_but_not_evaluated(tmp_path: Path) -> None:
    make_frames_video(tmp_path / "color", depth=tmp_path / "depth")
    for frame in range(12):
        (tmp_path / "color" / f"frame_{frame}.png").rename(tmp_path / "color" / f"{50 + frame / 10:.1f}.png")
        (tmp_path / "depth" / f"frame_{frame}.png").rename(tmp_path / "depth" / f"{50.004 + frame / 10:g}.png")
    (tmp_path / "depth" / "50.904.png").unlink()
    data = module(tmp_path / "color", depth_root=str(tmp_path / "depth"), evaluation="frames")
    data.setup()
    assert len(data.datasets["test"]) == 3  # type: ignore[arg-type]
    for index, frame in enumerate((8, 10, 11)):
        sample = data.datasets["test"][index]
        assert sample["name"] == f"{50 + frame / 10:.1f}"
        np.testing.assert_allclose(sample["depth"][0], true_depth_mm(frame) / 1000, rtol=1e-6)
    assert not data.make_source("test").read(1).depth.any()
    strict = module(tmp_path / "color", depth_root=str(tmp_path / "depth"), depth_tolerance_s=0.001)
    with pytest.raises(ValueError, match=r"nearest time stamps are 0.004 s apart, which is beyond the tolerance"):
        strict.prepare_data()


def test_depth_among_the_frames_is_usable_as_depth_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_frames_video(tmp_path, depth=tmp_path, name="frame-{:06d}.color.jpg")
    for frame in range(12):
        (tmp_path / f"frame-{frame:06d}.color.png").rename(tmp_path / f"frame-{frame:06d}.depth.png")
        (tmp_path / f"frame-{frame:06d}.pose.txt").write_text("1 0 0 0")
    data = module(tmp_path, depth_root=str(tmp_path), evaluation="frames")
    data.setup()
    names = [data.datasets["test"][index]["name"] for index in range(4)]
    assert names == [f"frame-{frame:06d}.color" for frame in range(8, 12)]
    np.testing.assert_allclose(data.datasets["test"][2]["depth"][0], true_depth_mm(10) / 1000, rtol=1e-6)
    assert f"{tmp_path}: 12 depth maps or masks that lie among the 12 frames are no frames" in caplog.text
    assert len(module(tmp_path).make_source("train")) == 8


def test_bit_depth_separates_depth_from_frames_without_telling_names(tmp_path: Path) -> None:
    make_frames_video(tmp_path)
    for frame in range(12):
        cv2.imwrite(str(tmp_path / f"z{frame}.png"), true_depth_mm(frame))
    assert len(module(tmp_path).make_source("train")) == 8
    for path in tmp_path.glob("frame_*.png"):
        path.unlink()
    # Without other images they are 16-bit grey photographs.
    assert len(module(tmp_path).make_source("train")) == 8


def test_left_out_files_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_frames_video(tmp_path / "a")
    for name in ("x.heic", "y.HEIC", "z.cr2"):
        (tmp_path / "a" / name).write_bytes(b"")
    (tmp_path / "a" / "frame_3.png").rename(tmp_path / "a" / "frame_3.jfif")
    assert len(module(tmp_path / "a").make_source("train")) == 8
    assert (
        caplog.messages.count(
            f"{tmp_path / 'a'}: 3 files of kinds that are not read (2 .heic, 1 .cr2; convert HEIC to JPEG, e.g. with "
            "`heif-convert`) are left out."
        )
        == 1
    )
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.heic").write_bytes(b"")
    with pytest.raises(ValueError, match=r"There are no images in .*; there are 1 files of kinds .*1 .heic; convert"):
        module(tmp_path / "b").prepare_data()


def spoil_size(root: Path) -> None:
    cv2.imwrite(str(root / "color" / "frame_3.png"), np.zeros((24, 32, 3), np.uint8))


def spoil_jpeg(root: Path) -> None:
    make_frames_video(root / "color", name="frame_{}.jpg")
    for path in (root / "color").glob("*.png"):
        path.unlink()
    whole = (root / "color" / "frame_3.jpg").read_bytes()
    (root / "color" / "frame_3.jpg").write_bytes(whole[: len(whole) // 2])


def spoil_depth_size(root: Path) -> None:
    cv2.imwrite(str(root / "depth" / "frame_3.png"), np.ones((24, 32), np.uint16))


def spoil_depth_bits(root: Path) -> None:
    cv2.imwrite(str(root / "depth" / "frame_3.png"), np.ones((HEIGHT, WIDTH), np.uint8))


def spoil_motion(root: Path) -> None:
    for frame in range(12):
        cv2.imwrite(str(root / "color" / f"frame_{frame}.png"), true_image(0)[..., ::-1])


def spoil_camera_size(root: Path) -> None:
    write_camera(root / "color" / "camera.yaml", width=64, height=64)


def spoil_names(root: Path) -> None:
    cv2.imwrite(str(root / "color" / "frame_3.jpg"), true_image(3))


BAD = {
    "frames of different sizes": (spoil_size, r"frame_3.png is 32x24, but frame_0.png is 64x48: all frames of a seq"),
    "truncated image": (spoil_jpeg, r"cannot read '.*frame_3.jpg' as an image: .*truncated.*; replace the frame"),
    "depth of another size": (spoil_depth_size, r"frame_3.png: the image is 64x48 but the depth has shape \(24, 32\)"),
    "depth of 8 bits": (spoil_depth_bits, r"frame_3.png' .*only 8 bits.*; replace the file, or leave depth_root"),
    "static clip": (
        spoil_motion,
        r"The train split of .*color: nothing moves, the median optical flow .* no depth can",
    ),
    "camera of another size": (spoil_camera_size, r"camera.yaml is the camera of 64x64 frames, but these are 64x48"),
    "two images of a name": (spoil_names, r"frame_3.jpg and frame_3.png are the same by equal names; add what"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_files_have_one_sentence(tmp_path: Path, case: str) -> None:
    spoil, message = BAD[case]
    make_frames_video(tmp_path / "color", depth=tmp_path / "depth")
    spoil(tmp_path)
    data = module(tmp_path / "color", depth_root=str(tmp_path / "depth"))

    def use() -> None:
        data.setup()
        for dataset in data.datasets.values():
            for index in range(len(dataset)):  # type: ignore[arg-type]
                dataset[index]

    with pytest.raises(ValueError, match=message) as caught:
        use()
    assert "\n" not in str(caught.value)


def test_two_images_of_one_name_have_one_sentence(tmp_path: Path) -> None:
    make_frames_video(tmp_path / "color")
    spoil_names(tmp_path)
    with pytest.raises(ValueError, match=r"holds both frame_3\.jpg and frame_3\.png: every frame is one"):
        module(tmp_path / "color").prepare_data()


def test_wrong_folders_have_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"There is no .*nowhere: set data.init_args.root to a folder of frames"
    ):
        module(tmp_path / "nowhere").prepare_data()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"There are no images in .*empty or the folders in it\."):
        module(tmp_path / "empty").prepare_data()
    write_video_file(tmp_path / "empty" / "walk.avi")
    with pytest.raises(
        ValueError, match=r"no images in .*empty .*; for a video let root be the file itself, as .*walk"
    ):
        module(tmp_path / "empty").prepare_data()
    (tmp_path / "list.txt").write_text("x")
    with pytest.raises(ValueError, match=r"list.txt is no video, whose name ends in"):
        module(tmp_path / "list.txt").prepare_data()
    make_frames_video(tmp_path / "room" / "color", depth=tmp_path / "room" / "depth")
    with pytest.raises(ValueError, match=r"holds a folder 'depth', which is no sequence of pictures: let root be"):
        module(tmp_path / "room").prepare_data()


@pytest.mark.parametrize("name", ["masks", "disparity", "range"])
def test_folders_of_masks_or_depth_are_no_sequences(tmp_path: Path, name: str) -> None:
    """Folders of masks or 16-bit maps are refused as sequences; a folder ``valid`` is a sequence."""
    make_frames_video(tmp_path / "color")
    make_frames_video(tmp_path / "valid")
    module(tmp_path).prepare_data()
    make_frames_video(tmp_path / "no", depth=tmp_path / name)
    shutil.rmtree(tmp_path / "no")
    with pytest.raises(ValueError, match=rf"holds a folder '{name}' beside 'color', which is no sequence of pictures"):
        module(tmp_path).prepare_data()


def test_missing_depth_has_one_sentence(tmp_path: Path) -> None:
    make_frames_video(tmp_path / "color", depth=tmp_path / "depth")
    with pytest.raises(FileNotFoundError, match=r"There is no depth folder .*deep for the frames in .*color"):
        module(tmp_path / "color", depth_root=str(tmp_path / "deep")).prepare_data()
    (tmp_path / "depth" / "frame_5.png").unlink()
    with pytest.raises(ValueError, match=r"one to one by equal names: 1 image has no partner \(frame_5.png\)"):
        module(tmp_path / "color", depth_root=str(tmp_path / "depth")).prepare_data()
    for path in list((tmp_path / "depth").iterdir()):
        path.rename(path.with_name(f"d{path.name}"))
    with pytest.raises(ValueError, match=r"The 12 images in .*color and the 11 depths in .*depth cannot be paired"):
        module(tmp_path / "color", depth_root=str(tmp_path / "depth")).prepare_data()
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileNotFoundError, match=r"file is a file, but depth_root has to be a folder"):
        module(tmp_path / "color", depth_root=str(tmp_path / "file")).prepare_data()


def test_clip_shorter_than_its_window_has_one_sentence(tmp_path: Path) -> None:
    make_frames_video(tmp_path)
    with pytest.raises(
        ValueError, match=r"The train split of .*: A clip of 5 frames with stride 2 spans 9 frames, but th"
    ):
        module(tmp_path, window=5, stride=2).setup("fit")
    with pytest.raises(ValueError, match=r"The test split of .* spans 9 frames, but the longest sequence has 2"):
        module(tmp_path, window=5, stride=2, test="10-11", train="0-9").setup("test")
    with pytest.raises(ValueError, match=r"The train split of .*longest sequence has 0"):
        module(tmp_path, test="0-11").setup("fit")


def test_wrong_videos_have_one_sentence(tmp_path: Path) -> None:
    path = write_video_file(tmp_path / "walk.avi")
    with pytest.raises(
        ValueError, match=r"walk.avi' has more than max_video_frames=8 frames, which are kept in memory"
    ):
        module(path, max_video_frames=8).prepare_data()
    with pytest.raises(ValueError, match=r"depth_root needs frames as files: extract those of .*walk.avi"):
        module(path, depth_root=str(tmp_path)).prepare_data()
    path.write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"cannot read '.*walk.avi' as a video\.$"):
        module(path).prepare_data()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"default_field_of_view_degrees": 0.0}, "is 0 degrees, but has to lie between 5 and 170"),
        ({"evaluation": "all"}, "evaluation 'all' is not known; choose 'clips' or 'frames'"),
        ({"depth_units_per_metre": 0.0}, "depth_units_per_metre is positive"),
        ({"max_video_frames": 0}, "max_video_frames has to be at least 1, got 0"),
        ({"min_flow": 2.0}, "min_flow is a fraction"),
    ],
)
def test_wrong_arguments_have_one_sentence(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module(Path("x"), **arguments)


def test_a_frame_in_which_nothing_was_measured_is_kept(tmp_path: Path) -> None:
    root = make_frames_video(tmp_path / "color", depth=tmp_path / "depth")
    cv2.imwrite(str(tmp_path / "depth" / "frame_3.png"), np.zeros((HEIGHT, WIDTH), np.uint16))
    data = module(root, depth_root=str(tmp_path / "depth"))
    source = data.make_source("train")
    frame = next(source.read(k) for k in range(len(source)) if source.read(k).name == "frame_3")
    assert not frame.depth.any()


def test_single_frames_without_depth_cannot_be_evaluated(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs depth_root"):
        module(make_frames_video(tmp_path), evaluation="frames")
