"""Exact reading of image files, and errors for truncated ones."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from datamodules.files.reading import check_size, read_orientation, read_rgb, read_values, turn


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_sixteen_bit_grey_and_transparency_are_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.array([[0, 257, 65535]], dtype=np.uint16))
    np.testing.assert_array_equal(read_rgb(tmp_path / "grey.png", upright=True)[0, :, 1], [0, 1, 255])
    Image.fromarray(np.full((2, 2, 4), 7, dtype=np.uint8)).save(tmp_path / "alpha.png")
    assert read_rgb(tmp_path / "alpha.png", upright=True).shape == (2, 2, 3)


def test_images_are_rotated_only_if_upright_is_set(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees clockwise for display
    Image.fromarray(noise(20, 30)).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_rgb(tmp_path / "turned.png", upright=False), noise(20, 30))
    np.testing.assert_array_equal(read_rgb(tmp_path / "turned.png", upright=True), np.rot90(noise(20, 30), -1))


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_every_sixteen_bit_value_is_exact(tmp_path: Path, ending: str) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    cv2.imwrite(str(tmp_path / f"depth.{ending}"), values)
    read = read_values(tmp_path / f"depth.{ending}")
    np.testing.assert_array_equal(read.astype(np.float64), values)


def encoded(pixels: np.ndarray, format_: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_)
    return buffer.getvalue()


@pytest.mark.parametrize("share", [0.05, 0.5, 0.98])
@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_truncated_images_are_refused_in_one_sentence(tmp_path: Path, format_: str, share: float) -> None:
    path = tmp_path / "cut"
    whole = encoded(noise(80, 80), format_)
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"^cannot read '.*cut' as an image: .+[^.\n]$"):
        read_rgb(path, upright=False)


def test_truncated_depth_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    whole = encoded(noise(60, 60)[..., 0].astype(np.uint16) * 200, "PNG")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut.png' as a 16-bit PNG or TIFF: .*truncated"):
        read_values(path)


def test_depth_that_would_not_be_exact_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stretched.pgm").write_bytes(b"P5 1 1 1000\n\x01\x00")  # Pillow turns 256 into 16777
    with pytest.raises(ValueError, match="no known format"):
        read_values(tmp_path / "stretched.pgm")
    Image.fromarray(noise(4, 4)).save(tmp_path / "colours.png")
    with pytest.raises(ValueError, match="it has colours or only 8 bits"):
        read_values(tmp_path / "colours.png")
    with pytest.raises(ValueError, match=r"none.png' as an image: No such file"):
        read_rgb(tmp_path / "none.png", upright=False)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it_and_back(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise(20, 30)).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as file:
        expected = np.array(ImageOps.exif_transpose(file))
    turned = read_rgb(tmp_path / "turned.png", upright=True)
    np.testing.assert_array_equal(turned, expected)
    np.testing.assert_array_equal(turn(turned, orientation, back=True), noise(20, 30))
    assert read_orientation(tmp_path / "turned.png") == (orientation, (20, 30))


def test_large_images_are_read_up_to_a_stated_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 200 megapixels, more than Pillow allows, in a file of a few hundred bytes.
    Image.new("1", (20000, 10000)).save(tmp_path / "panorama.png")
    assert read_orientation(tmp_path / "panorama.png") == (1, (10000, 20000))
    check_size((20000, 10000))
    monkeypatch.setattr("datamodules.files.reading.MAX_MEGAPIXELS", 1)
    Image.new("L", (2000, 1000)).save(tmp_path / "large.png")
    with pytest.raises(ValueError, match=r"large.png' as an image: it has 2000x1000 pixels, 2 megapixels, and at most"):
        read_rgb(tmp_path / "large.png", upright=True)
    with pytest.raises(ValueError, match=r"large.png' as a 16-bit PNG or TIFF: it has 2000x1000 pixels"):
        read_values(tmp_path / "large.png")


def test_files_that_need_a_conversion_say_which(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic")
    (tmp_path / "photo.dng").write_bytes(b"no tiff at all")
    (tmp_path / "nothing.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    for name, message in (
        ("photo.jpg", "HEIC, as phones write it, cannot be read: convert it, e.g. with `heif-convert"),
        ("photo.dng", "a camera's raw format cannot be read: develop it"),
        ("nothing.png", "the file is empty"),
        ("folder.png", "it is a folder, but a file is needed"),
    ):
        with pytest.raises(ValueError, match=rf"cannot read '.*{name}' as an image: {message}"):
            read_rgb(tmp_path / name, upright=True)
