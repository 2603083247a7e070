import math

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.files.media_paths import find_media
from datamodules.prediction_images import ImageFiles, prepare, working_size


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_video(path, levels, size=(48, 64)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, size[::-1])
    assert writer.isOpened()
    for level in levels:
        writer.write(np.full((*size, 3), level, dtype=np.uint8))
    writer.release()
    return path


def batches(path, **settings):
    data = ImageFiles(str(path), **settings)
    data.setup("predict")
    return list(data.predict_dataloader())


@pytest.mark.parametrize(("height", "width"), [(97, 131), (131, 97), (480, 640), (31, 33), (1, 1), (10, 500)])
def test_any_size_keeps_its_aspect_and_is_padded_to_the_divisor(height, width):
    image, (rows, columns) = prepare(noise(height, width), image_size=(96, 128), divisor=32)
    assert image.shape[1] % 32 == image.shape[2] % 32 == 0
    assert 0 <= image.shape[1] - rows < 32
    assert 0 <= image.shape[2] - columns < 32
    assert rows == pytest.approx(math.sqrt(96 * 128 * height / width), abs=0.51)
    assert columns == pytest.approx(math.sqrt(96 * 128 * width / height), abs=0.51)
    # Padding replicates the last row and column.
    assert torch.equal(image[:, rows:], image[:, rows - 1 : rows].expand(-1, image.shape[1] - rows, -1))
    assert torch.equal(
        image[:, :, columns:], image[:, :, columns - 1 : columns].expand(-1, -1, image.shape[2] - columns)
    )


def test_shrinking_by_two_is_the_mean_of_four_pixels():
    pixels = noise(64, 64)
    image, size = prepare(pixels, image_size=(32, 32), divisor=1)
    assert size == (32, 32)
    mean = pixels.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    np.testing.assert_allclose(image.numpy() * 255, mean, atol=0.51)


def test_the_working_size_has_the_given_number_of_pixels():
    assert working_size(1080, 1920, image_size=(96, 128)) == (83, 148)


def test_a_batch_holds_the_image_its_sizes_and_its_name(tmp_path):
    pixels = noise(97, 131)
    save(tmp_path / "a.b.png", pixels)
    (batch,) = batches(tmp_path, image_size=(64, 64))
    assert batch["name"] == ["a.b"]
    assert batch["error"] == [""]
    assert batch["image"].dtype == torch.float32
    np.testing.assert_array_equal(batch["original_image"][0].permute(1, 2, 0), pixels)
    assert not batch["K_known"]


def test_an_unknown_camera_has_the_field_of_view_that_is_assumed(tmp_path):
    save(tmp_path / "a.png", noise(100, 200))
    (batch,) = batches(tmp_path, image_size=(50, 100), assumed_field_of_view_degrees=90.0)
    assert not batch["K_known"]
    torch.testing.assert_close(batch["K"][0], torch.tensor([[50.0, 0, 50], [0, 50, 25], [0, 0, 1]]))
    (batch,) = batches(tmp_path, image_size=(50, 100))
    assert float(batch["K"][0, 0, 0]) == pytest.approx(50 / np.tan(np.radians(30)), rel=1e-6)


def test_k_follows_the_image_to_its_working_size(tmp_path):
    save(tmp_path / "a.png", noise(100, 200))
    (batch,) = batches(tmp_path, image_size=(50, 100), divisor=32, intrinsics=(150.0, 160.0, 101.0, 49.0))
    assert batch["content_size"].tolist() == [[50, 100]]
    assert batch["K_known"]
    torch.testing.assert_close(batch["K"][0], torch.tensor([[75.0, 0, 50.5], [0, 80.0, 24.5], [0, 0, 1]]))


def test_a_field_of_view_of_ninety_degrees_has_half_the_width_as_focal_length(tmp_path):
    save(tmp_path / "a.png", noise(100, 200))
    (batch,) = batches(tmp_path, image_size=(100, 200), field_of_view_degrees=90.0)
    torch.testing.assert_close(batch["K"][0], torch.tensor([[100.0, 0, 100], [0, 100, 50], [0, 0, 1]]))


def test_unreadable_file_is_an_item_with_its_error(tmp_path):
    save(tmp_path / "a.png", noise(40, 40))
    whole = save(tmp_path / "b.jpg", noise(80, 80)).read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[: len(whole) // 2])  # OpenCV would fill the rest with grey
    (tmp_path / "c.png").write_bytes(b"not a picture")
    (tmp_path / "d.mp4").write_bytes(b"not a video")
    save(tmp_path / "e.png", noise(40, 40))
    read = batches(tmp_path)
    assert [bool(batch["error"][0]) for batch in read] == [False, True, True, True, False]
    assert all(str(tmp_path / f"{name}.") in batch["error"][0] for name, batch in zip("bcd", read[1:4], strict=True))


def test_k_outside_an_image_is_the_error_of_that_image(tmp_path):
    save(tmp_path / "large.png", noise(100, 100))
    save(tmp_path / "small.png", noise(40, 40))
    large, small = batches(tmp_path, intrinsics=(50.0, 50.0, 50.0, 50.0))
    assert large["error"] == [""]
    assert small["error"][0].startswith("'small': the principal point (50, 50) lies outside the 40x40 image")


def test_video_frames_come_in_order_and_numbered(tmp_path):
    write_video(tmp_path / "clip.avi", [0, 100, 200])
    read = batches(tmp_path / "clip.avi", image_size=(48, 64))
    assert [batch["name"][0] for batch in read] == ["clip/000000", "clip/000001", "clip/000002"]
    np.testing.assert_allclose([batch["image"].mean() * 255 for batch in read], [0, 100, 200], atol=3)


def test_a_truncated_video_gives_its_frames_and_then_an_error(tmp_path):
    path = write_video(tmp_path / "clip.avi", range(0, 200, 10))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    *frames, last = batches(path)
    assert 0 < len(frames) < 20 or "cannot read" in last["error"][0]
    assert not any(frame["error"][0] for frame in frames)
    assert last["error"][0]


def test_two_workers_read_every_file_once(tmp_path):
    for number in range(5):
        save(tmp_path / f"{number}.png", noise(32, 32))
    names = [batch["name"][0] for batch in batches(tmp_path, num_workers=2)]
    assert sorted(names) == ["0", "1", "2", "3", "4"]


def test_images_are_turned_as_their_exif_entry_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(noise(20, 30)).save(tmp_path / "turned.jpg", exif=exif)
    (batch,) = batches(tmp_path)
    assert batch["original_image"].shape == (1, 3, 30, 20)


def test_folders_keep_their_structure_and_hidden_files_stay_out(tmp_path):
    for name in ("a/1.png", "b/1.png", ".hidden/1.png", "b/._1.png"):
        save(tmp_path / name, noise(4, 4))
    (tmp_path / "notes.txt").write_text("x")
    assert [file.name for file in find_media(str(tmp_path))] == ["a/1", "b/1"]
    assert [file.name for file in find_media(str(tmp_path / "*" / "*.png"))] == ["a/1", "b/1"]
    assert [file.name for file in find_media(str(tmp_path / "b" / "*.png"))] == ["1"]
    assert [file.name for file in find_media(str(tmp_path / "**" / "*.png"))] == ["a/1", "b/1"]


@pytest.mark.parametrize(
    "names", [["a.jpg", "a.png"], ["clip.avi", "clip/000000.png"], ["a.png", "a.jpg", "a.png.jpg"]]
)
def test_names_stay_unique(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(file.name for file in find_media(str(tmp_path))) == sorted(names)


def test_no_input_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        find_media(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="no image and no video in the folder"):
        find_media(str(tmp_path))
    with pytest.raises(ValueError, match="no image and no video that matches"):
        find_media(str(tmp_path / "*.png"))


@pytest.mark.parametrize(
    "settings",
    [
        {"image_size": (0, 5)},
        {"image_size": (10**6, 10**6)},
        {"divisor": 0},
        {"field_of_view_degrees": 180.0},
        {"intrinsics": (0.0, 1.0, 1.0, 1.0)},
        {"intrinsics": (1.0, 1.0, 1.0, math.nan)},
        {"field_of_view_degrees": 60.0, "intrinsics": (1.0, 1.0, 1.0, 1.0)},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        ImageFiles("x", **settings)


def test_files_come_in_natural_order_and_links_to_folders_are_followed_once(tmp_path):
    for name in ("in/f10.png", "in/f2.png", "elsewhere/1.png", "in/deep/1.png"):
        save(tmp_path / name, noise(4, 4))
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "deep" / "circle").symlink_to(tmp_path / "in")
    (tmp_path / "elsewhere" / "self").symlink_to(tmp_path / "elsewhere")
    expected = ["deep/1", "f2", "f10", "linked/1"]
    assert [file.name for file in find_media(str(tmp_path / "in"))] == expected
    assert [file.name for file in find_media(str(tmp_path / "in" / "**" / "*.png"))] == expected


def test_files_that_are_not_read_are_counted_in_one_line(tmp_path, caplog):
    save(tmp_path / "a.png", noise(4, 4))
    Image.fromarray(noise(4, 4)).save(tmp_path / "b.jfif", "JPEG")
    Image.fromarray(noise(4, 4)).save(tmp_path / "c.jpe", "JPEG")
    for name in ("d.HEIC", "e.heic", "f.exr", "notes.txt", ".hidden.heic"):
        (tmp_path / name).write_bytes(b"x")
    assert [batch["name"][0] for batch in batches(tmp_path)] == ["a", "b", "c"]
    assert caplog.messages == [
        f"{tmp_path}: 3 files of kinds that are not read (2 .heic, 1 .exr; convert HEIC to JPEG, e.g. with "
        "`heif-convert`) are left out."
    ]
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "x.heic").touch()
    with pytest.raises(ValueError, match=r"no image and no video in the folder .*; there are 1 files of kinds .*heif"):
        find_media(str(tmp_path / "only"))


def test_a_folder_of_depth_beside_photographs_is_not_predicted(tmp_path, caplog):
    for number in range(2):
        save(tmp_path / "room" / "color" / f"{number}.jpg", noise(8, 8))
        save(tmp_path / "room" / "depth" / f"{number}.png", noise(8, 8)[..., 0].astype(np.uint16) * 200)
    assert [file.name for file in find_media(str(tmp_path))] == ["room/color/0", "room/color/1"]
    assert "2 depth maps or masks among the images are left out (0.png, 1.png)" in caplog.text
    assert len(find_media(str(tmp_path / "room" / "depth"))) == 2


def test_depth_among_photographs_is_not_predicted(tmp_path, caplog):
    for number in range(2):
        save(tmp_path / f"frame-{number}.color.jpg", noise(8, 8))
        save(tmp_path / f"frame-{number}.depth.png", noise(8, 8)[..., 0].astype(np.uint16) * 200)
        save(tmp_path / "grey" / f"{number}.png", noise(8, 8)[..., 0].astype(np.uint16) * 200)
    names = [file.name for file in find_media(str(tmp_path))]
    assert names == ["frame-0.color", "frame-1.color", "grey/0", "grey/1"]
    assert "2 depth maps or masks among the images are left out (frame-0.depth.png, frame-1.depth.png)" in caplog.text
