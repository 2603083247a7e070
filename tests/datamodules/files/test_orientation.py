"""Rotation of images, depth, masks and cameras by EXIF orientation in every reader."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from datamodules.depth_list import DepthListDataModule
from datamodules.files.orientation import k_lies_stored, lies_stored
from datamodules.image_sequences.frames_video import FramesVideoDataModule
from datamodules.image_sequences.sc_depth_layout import ScDepthDataModule
from datamodules.nyuv2.raw import NyuV2RawDataModule
from datamodules.prediction_images import ImageFiles
from tests.data.make_depth_list import make_depth_list
from tests.data.make_frames_video import HEIGHT, WIDTH, make_frames_video, true_depth_mm, write_camera
from tests.data.make_nyuv2_raw import make_nyuv2_raw
from tests.data.make_sc_depth import make_sc_depth

TURNS = {3: 2, 6: -1, 8: 1}
"""Quarter turns anticlockwise, as ``np.rot90`` counts them."""


def set_orientation(path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(path) as file:
        image = file.copy()
    image.save(path, exif=exif, **({"quality": 100} if path.suffix == ".jpg" else {}))


def frames(root: Path, **changes: object) -> FramesVideoDataModule:
    settings = {"image_size": (HEIGHT, WIDTH), "window": 3, "test": "8-11"} | changes
    return FramesVideoDataModule(str(root), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("lens", [None, [-0.3, 0.05, 0.01, 0.0, 0.0]])
def test_turned_frames_are_those_without_an_entry_turned(
    tmp_path: Path, orientation: int, lens: list[float] | None, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_frames_video(tmp_path / "color", depth=tmp_path / "depth")
    write_camera(root / "camera.yaml", cx=29.5, cy=22.5, distortion=lens)
    plain = frames(root, depth_root=str(tmp_path / "depth")).make_source("test").read(2)
    for path in root.glob("*.png"):
        set_orientation(path, orientation)
    turned = frames(root, depth_root=str(tmp_path / "depth")).make_source("test").read(2)
    turns = TURNS[orientation]
    # Depth, the camera's size and its distortion are those of the stored images.
    np.testing.assert_array_equal(turned.image, np.rot90(plain.image, turns))
    np.testing.assert_array_equal(turned.depth, np.rot90(plain.depth, turns))
    fx, fy, cx, cy = plain.K[0, 0], plain.K[1, 1], plain.K[0, 2], plain.K[1, 2]
    expected = {3: (fx, fy, WIDTH - cx, HEIGHT - cy), 6: (fy, fx, HEIGHT - cy, cx), 8: (fy, fx, cy, WIDTH - cx)}
    assert (turned.K[0, 0], turned.K[1, 1], turned.K[0, 2], turned.K[1, 2]) == pytest.approx(expected[orientation])
    # A rotation by 180 degrees does not change the size, so one warning is logged.
    assert caplog.text.count("taken to lie as stored") == (orientation == 3)


def test_upright_depth_and_camera_are_not_rotated(tmp_path: Path) -> None:
    root = make_frames_video(tmp_path / "color", depth=tmp_path / "depth")
    for path in root.glob("*.png"):
        set_orientation(path, 6)
    for frame in range(12):
        upright = np.ascontiguousarray(np.rot90(true_depth_mm(frame), -1))
        cv2.imwrite(str(tmp_path / "depth" / f"frame_{frame}.png"), upright)
    write_camera(root / "camera.yaml", width=HEIGHT, height=WIDTH, cx=23.5, cy=31.5)
    data = frames(root, depth_root=str(tmp_path / "depth"), image_size=(WIDTH, HEIGHT))
    data.setup()
    frame = data.make_source("test").read(1)
    np.testing.assert_allclose(frame.depth, np.rot90(true_depth_mm(9), -1) / 1000, rtol=1e-6)
    np.testing.assert_allclose(frame.K, [[60, 0, 24], [0, 62, 32], [0, 0, 1]])


def test_training_and_prediction_read_the_same_pixels(tmp_path: Path) -> None:
    root = make_frames_video(tmp_path, camera=False)
    for path in root.glob("*.png"):
        set_orientation(path, 8)
    files = ImageFiles(str(root))
    files.setup("predict")
    predicted = [batch["original_image"][0].permute(1, 2, 0).numpy() for batch in files.predict_dataloader()]
    source = frames(root).make_source("test")
    for index in range(4):
        np.testing.assert_array_equal(source.read(index).image, predicted[8 + index])
    assert source.read(0).K[0, 2] == HEIGHT / 2  # the assumed camera is that of the upright picture


def test_turned_and_plain_frames_of_one_sequence_have_no_common_size(tmp_path: Path) -> None:
    root = make_frames_video(tmp_path)
    set_orientation(root / "frame_9.png", 6)
    with pytest.raises(ValueError, match=r"frame_9.png is 48x64, but frame_0.png is 64x48: all frames"):
        frames(root).make_source("test").read(1)


def test_scenes_of_sc_depth_are_turned_with_their_k_and_depth(tmp_path: Path) -> None:
    make_sc_depth(tmp_path)
    plain = ScDepthDataModule(str(tmp_path), window=3).make_source("val").read(3)
    for path in tmp_path.glob("Training/*/*.jpg"):
        set_orientation(path, 6)
    turned = ScDepthDataModule(str(tmp_path), window=3).make_source("val").read(3)
    assert np.abs(turned.image.astype(int) - np.rot90(plain.image, -1)).mean() < 2  # compressed once more
    np.testing.assert_array_equal(turned.depth, np.rot90(plain.depth, -1))
    np.testing.assert_allclose(turned.K, [[62, 0, 24], [0, 60, 32], [0, 0, 1]])


def test_depth_of_a_list_is_turned_at_its_own_size(tmp_path: Path) -> None:
    make_depth_list(tmp_path, "scannet", count=1)
    settings = {"layout": "scannet", "intrinsics": (1000.0, 1010.0, 640.0, 480.0)}
    plain = DepthListDataModule(str(tmp_path), **settings).make_source("test").read(0)  # type: ignore[arg-type]
    set_orientation(tmp_path / "scene0011_00/color/1860.jpg", 8)
    turned = DepthListDataModule(str(tmp_path), **settings).make_source("test").read(0)  # type: ignore[arg-type]
    assert turned.image.shape == (1296, 968, 3)
    # A pixel in the middle between two of the smaller map may take the other one, 4 mm away.
    np.testing.assert_allclose(turned.depth, np.rot90(plain.depth), rtol=0, atol=0.0041)
    np.testing.assert_allclose(turned.K, [[1010, 0, 480.5], [0, 1000, 1296 - 640.5], [0, 0, 1]])


def test_raw_frames_of_the_kinect_have_no_orientation(tmp_path: Path) -> None:
    root = make_nyuv2_raw(tmp_path)
    source = NyuV2RawDataModule(str(root)).make_source("train")
    path = root / source.paths[0]  # type: ignore[attr-defined]
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.zeros((480, 640, 3), np.uint8)).save(path, "PNG", exif=exif)
    with pytest.raises(ValueError, match="has the EXIF orientation 3, which no frame of the Kinect has"):
        source.read(0)


@pytest.mark.parametrize(
    ("size", "image", "orientation", "expected"),
    [
        ((48, 64), (48, 64), 6, True),
        ((64, 48), (48, 64), 6, False),
        ((480, 640), (968, 1296), 5, True),
        ((640, 480), (968, 1296), 5, False),
        ((48, 64), (48, 64), 3, None),
        ((50, 50), (50, 50), 8, None),
        ((50, 50), (48, 64), 6, None),
    ],
)
def test_size_gives_the_orientation_of_depth(
    size: tuple[int, int], image: tuple[int, int], orientation: int, expected: bool | None
) -> None:
    assert lies_stored(size, image, orientation) is expected


def test_principal_point_gives_the_orientation_of_k() -> None:
    K = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
    assert k_lies_stored(K, (48, 64), 6) is True
    assert k_lies_stored(K, (64, 48), 6) is False
    assert k_lies_stored(K, (48, 64), 3) is None
