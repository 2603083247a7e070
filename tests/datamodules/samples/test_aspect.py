"""Images with another aspect ratio: one warning with factor and count, or a crop with exact K."""

import csv
import logging

import cv2
import numpy as np
import pytest

from datamodules.manifest.datamodule import ManifestDataModule
from datamodules.samples.aspect import header_size, stretching, warn_stretched
from datamodules.samples.frame import Frame
from datamodules.samples.transforms import crop_to_aspect, resize

FX, FY, CX, CY = 900.0, 910.0, 270.0, 492.0


def make_portraits(root, *, portraits=3, landscapes=2):
    """Write a manifest of frames of a plane at 2 m whose green and red channels encode the slope of the ray."""
    (root / "im").mkdir()
    rows = []
    for number in range(portraits + landscapes):
        width, height = (540, 960) if number < portraits else (960, 720)
        cv2.imwrite(str(root / "im" / f"{number}.png"), np.full((height, width, 3), 10 * number, np.uint8))
        cv2.imwrite(str(root / "im" / f"{number}_d.png"), np.full((height, width), 2000, np.uint16))
        row = {"image": f"im/{number}.png", "depth": f"im/{number}_d.png", "split": "test" if number else "train"}
        rows.append(row | {"depth_scale": 1000, "fx": FX, "fy": FY, "cx": width / 2 - 0.5, "cy": height / 2 - 0.5})
    with (root / "m.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root / "m.csv"


@pytest.mark.parametrize(
    ("size", "image_size", "factor"),
    [((480, 640), (96, 128), 1.0), ((1920, 1080), (96, 128), 64 / 27), ((375, 1242), (288, 384), 1242 / 375 * 0.75)],
)
def test_the_factor_of_stretching(size, image_size, factor):
    assert stretching(size, image_size) == pytest.approx(factor)


def test_small_stretch_is_ignored_and_large_stretch_reported_once(caplog):
    assert warn_stretched("fine", {(480, 640): 9, (500, 640): 1}, (96, 128)) is None
    with caplog.at_level(logging.WARNING):
        message = warn_stretched("set of two shapes", {(480, 640): 9, (1920, 1080): 3}, (96, 128))
        warn_stretched("set of two shapes", {(1920, 1080): 3}, (96, 128))
    assert "3 of 12 checked images" in message
    assert "2.37 times" in message
    assert "1080x1920 becomes 128x96" in message
    assert [record.message for record in caplog.records] == [message]


@pytest.mark.parametrize("orientation", [1, 6])
def test_header_gives_the_stored_or_upright_size(tmp_path, orientation):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert header_size(tmp_path / "a.jpg", upright=False) == (30, 40)
    assert header_size(tmp_path / "a.jpg", upright=True) == ((40, 30) if orientation == 6 else (30, 40))
    (tmp_path / "b.jpg").write_bytes(b"torn")
    assert header_size(tmp_path / "b.jpg", upright=True) is None


def point_frame(height, width):
    """Return a frame whose depth is the pixel index, so that each pixel can be identified."""
    depth = np.arange(1, height * width + 1, dtype=np.float32).reshape(height, width)
    K = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]])
    return Frame(image=np.zeros((height, width, 3), np.uint8), depth=depth, K=K, name="a")


@pytest.mark.parametrize(("height", "width"), [(960, 540), (300, 1000), (77, 131), (480, 640)])
def test_every_pixel_keeps_its_ray_through_crop_and_resize(height, width):
    frame = point_frame(height, width)
    cropped = crop_to_aspect(frame, (96, 128))
    assert stretching(cropped.image.shape[:2], (96, 128)) < 1 + 1 / min(cropped.image.shape[:2])
    assert height in cropped.image.shape[:2] or width in cropped.image.shape[:2]
    v, u = np.mgrid[: cropped.image.shape[0], : cropped.image.shape[1]] + 0.5
    old_v, old_u = np.divmod(cropped.depth.astype(np.int64) - 1, width)  # where each pixel was
    for axis, old, new in ((0, old_u + 0.5, u), (1, old_v + 0.5, v)):
        before = (old - frame.K[axis, 2]) / frame.K[axis, axis]
        np.testing.assert_allclose((new - cropped.K[axis, 2]) / cropped.K[axis, axis], before, atol=1e-12)
    small = resize(cropped, (96, 128))
    corner = np.array([cropped.image.shape[1], cropped.image.shape[0], 1.0])
    np.testing.assert_allclose(  # both corners of the image are seen along the same rays
        np.linalg.inv(small.K) @ [128, 96, 1], np.linalg.inv(cropped.K) @ corner, atol=1e-12
    )


def test_stretched_images_of_a_manifest_are_reported_or_cropped(tmp_path, caplog):
    path = make_portraits(tmp_path)
    with caplog.at_level(logging.WARNING):
        ManifestDataModule(str(path), image_size=(96, 128), aspect="crop").prepare_data()
        assert "stretched" not in caplog.text
        stretched = ManifestDataModule(str(path), image_size=(96, 128))
        stretched.prepare_data()
        stretched.prepare_data()
    (message,) = [record.message for record in caplog.records if "stretched" in record.message]
    assert "3 of 5 checked images" in message
    assert "aspect=crop" in message
    sample = {}
    for aspect in ("stretch", "crop"):
        data = ManifestDataModule(str(path), image_size=(96, 128), aspect=aspect)
        data.setup("test")
        sample[aspect] = data.datasets["test"][0]
    K = sample["crop"]["K"].numpy()
    np.testing.assert_allclose(K[0], [FX * 128 / 540, 0, 64], rtol=1e-6)
    np.testing.assert_allclose(K[1], [0, FY * 96 / 405, 96 * (480 - (960 - 405) // 2) / 405], rtol=1e-6)
    np.testing.assert_allclose(sample["stretch"]["K"][1, 1], FY * 96 / 960, rtol=1e-6)


def test_another_word_is_refused(tmp_path):
    with pytest.raises(ValueError, match="aspect 'squash' is not known; choose stretch or crop"):
        ManifestDataModule(str(tmp_path), aspect="squash")
