import os
import stat

import cv2
import numpy as np
import pytest
from PIL import Image

from structures.files import read_picture, write_atomically, write_png


def test_a_writer_that_dies_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "result.bin"
    write_atomically(target, [b"old"])

    def dying():
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(target, dying())
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["result.bin"]


def test_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    target = tmp_path / "result.bin"
    target.write_bytes(b"old")
    synced = []

    def fsync(descriptor):
        (temporary,) = [path for path in tmp_path.iterdir() if path != target]
        assert os.path.samestat(os.fstat(descriptor), temporary.stat())
        synced.append((temporary.read_bytes(), target.read_bytes()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(target, [b"new ", b"content"])
    assert synced == [(b"new content", b"old")]
    assert target.read_bytes() == b"new content"


def test_files_have_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", [b"x"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_pngs_are_read_back_by_another_library(tmp_path):
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    grey = rng.integers(0, 65536, (5, 7), dtype=np.uint16)
    write_png(tmp_path / "colour.png", colour)
    write_png(tmp_path / "grey.png", grey)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "colour.png")), colour)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "grey.png"), cv2.IMREAD_UNCHANGED), grey)


@pytest.mark.parametrize("shape", [(4, 4, 4), (4,), (0, 4, 3)])
def test_what_is_no_picture_is_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="pixels"):
        write_png(tmp_path / "x.png", np.zeros(shape, dtype=np.uint8))


def test_a_written_picture_is_read_back_and_a_missing_one_is_said(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), pixels)
    with pytest.raises(FileNotFoundError, match=r"b\.png' was written and is gone"):
        read_picture(tmp_path / "b.png")
