"""NYU Depth v2 test images: layouts, evaluated crop and camera, and damaged files."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from datamodules.nyuv2.evaluation import EvaluationSource, NyuTestSource, open_test_images
from datamodules.nyuv2.labeled import camera
from tests.data.make_nyuv2_eval import make_nyuv2_eval, written_depth, written_image
from tests.data.make_nyuv2_labeled import make_nyuv2_labeled, true_depth, true_image


@pytest.mark.parametrize("one_file", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_released_files_give_the_evaluated_window(tmp_path: Path, one_file: bool, channels_last: bool) -> None:
    source = open_test_images(make_nyuv2_eval(tmp_path, one_file=one_file, channels_last=channels_last))
    assert len(source) == 3
    frames = [source.read(index) for index in range(3)]
    assert [f.name for f in frames] == (
        ["nyu_test/0001", "nyu_test/0002", "nyu_test/0003"] if one_file else ["00001", "00002", "00003"]
    )
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, written_image(number)[44:471, 40:601])
        np.testing.assert_array_equal(frame.depth, written_depth(number)[44:471, 40:601])
        assert frame.depth.shape == (427, 561)
        assert not frame.depth[:10, :20].any()


def test_original_file_gives_the_official_test_images(tmp_path: Path) -> None:
    make_nyuv2_labeled(tmp_path, frames=6)
    source = open_test_images(tmp_path)
    assert [source.read(index).name for index in range(len(source))] == ["0001", "0003", "0005"]
    frame = source.read(1)
    np.testing.assert_array_equal(frame.image, true_image(2)[44:471, 40:601])
    np.testing.assert_array_equal(frame.depth, true_depth(2)[44:471, 40:601])


def test_camera_follows_the_crop(tmp_path: Path) -> None:
    frame = open_test_images(make_nyuv2_eval(tmp_path, count=1)).read(0)
    # From the toolbox: the principal point counts from the first pixel's centre, so half a pixel comes on top.
    expected = [[518.8579, 0, 325.58245 + 0.5 - 40], [0, 519.46961, 253.73617 + 0.5 - 44], [0, 0, 1]]
    np.testing.assert_allclose(frame.K, expected, rtol=1e-7)
    # A point in space is seen at the same pixel of the scene before and after.
    point = np.array([0.3, -0.2, 2.0])
    before, after = (K @ point / point[2] for K in (camera(), frame.K))
    np.testing.assert_allclose(before[:2] - (40, 44), after[:2])
    full = NyuTestSource(sorted(tmp_path.glob("*.h5"))).read(0)
    x, y = np.floor(before[:2]).astype(int)
    np.testing.assert_array_equal(full.image[y, x], frame.image[y - 44, x - 40])


def test_files_are_closed_again(tmp_path: Path) -> None:
    # One open descriptor per file, 654 for each split, would exceed the limit of a process.
    source = open_test_images(make_nyuv2_eval(tmp_path, count=1))
    assert isinstance(source, EvaluationSource)
    source.read(0)
    with h5py.File(tmp_path / "00001.h5", "r+") as file:  # refused while it is open for reading
        file["depth"][100, 100] = 7.0
    assert source.read(0).depth[100 - 44, 100 - 40] == 7.0


def test_missing_and_broken_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"neither nyu_depth_v2_labeled.mat .*nor .h5 files .*test_root"):
        open_test_images(tmp_path / "nowhere")
    path = make_nyuv2_eval(tmp_path, count=1) / "00001.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[:5000])
    with pytest.raises(ValueError, match=r"00001.h5 is truncated or no HDF5 file"):
        open_test_images(tmp_path)
    with h5py.File(path, "w") as file:
        file["rgb"] = np.zeros((3, 480, 640), np.uint8)
    with pytest.raises(ValueError, match=r"has no data set 'depth'"):
        open_test_images(tmp_path)
    with h5py.File(path, "w") as file:
        file["rgb"] = np.zeros((3, 640, 480), np.uint8)
        file["depth"] = np.ones((480, 640), np.float32)
    with pytest.raises(ValueError, match=r"rgb is uint8 of shape \(3, 640, 480\) .* expected uint8 \(3, 480, 640\)"):
        open_test_images(tmp_path)
    with h5py.File(path, "w") as file:
        file["rgb"] = np.zeros((3, 480, 640), np.float32)
        file["depth"] = np.ones((480, 640), np.float32)
    with pytest.raises(ValueError, match=r"rgb is float32"):
        open_test_images(tmp_path)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        file["depth"][9, 9] = np.nan
    with pytest.raises(ValueError, match=r"00001.h5: the depth holds 1 NaN"):
        open_test_images(tmp_path).read(0)
