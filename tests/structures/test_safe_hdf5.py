"""HDF5 files must not show other files, or declare more than fits into memory."""

import h5py
import numpy as np
import pytest

from datamodules.nyuv2.labeled import count_frames
from structures import safe_hdf5
from structures.label_store import LabelStore
from structures.label_writer import LabelWriter
from structures.safe_hdf5 import check_dataset


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(bytes(range(64)))
    return path


def opened(path):
    return h5py.File(path, "r")


def test_values_in_the_file_are_read(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["group/values"] = np.arange(6).reshape(2, 3)
    with opened(tmp_path / "x.h5") as file:
        assert check_dataset(file, "group/values", whole=True)[1].tolist() == [3, 4, 5]


def test_external_storage_is_refused(tmp_path, secret):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("values", (8, 8), np.uint8, external=[(str(secret), 0, 64)])
    with opened(tmp_path / "x.h5") as file:
        assert file["values"][0].tolist() == list(range(8))  # what it would show
        with pytest.raises(
            ValueError, match=r"refused, because its data set 'values' has its values in the file .*secret"
        ):
            check_dataset(file, "values")


def test_links_to_other_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["inner/values"] = np.zeros(3)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["values"] = h5py.ExternalLink("other.h5", "/inner/values")
        file["group"] = h5py.ExternalLink("other.h5", "/inner")
        file["soft"] = h5py.SoftLink("/group/values")
    with opened(tmp_path / "x.h5") as file:
        for name in ("values", "group/values"):
            with pytest.raises(ValueError, match=r"is a link to '/inner(/values)?' in the file 'other.h5'"):
                check_dataset(file, name)
        with pytest.raises(ValueError, match="'soft' is a link to '/group/values': only values inside"):
            check_dataset(file, "soft")


def test_virtual_data_sets_are_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["values"] = np.zeros(3)
    layout = h5py.VirtualLayout((3,), float)
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "values", (3,))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_virtual_dataset("values", layout)
    with opened(tmp_path / "x.h5") as file, pytest.raises(ValueError, match=r"has its values in the file '.*other.h5'"):
        check_dataset(file, "values")


def test_declared_sizes_are_checked(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("item", (2, 10**6, 10**6), np.uint8, chunks=(1, 64, 64))  # no bytes in the file
        file.create_dataset("whole", (10**12,), np.uint8, chunks=(64,))
    assert (tmp_path / "x.h5").stat().st_size < 10**5
    with opened(tmp_path / "x.h5") as file:
        with pytest.raises(ValueError, match=r"declares 1000.0 GB for 'item' \(shape \(2, 1000000, 1000000\), uint8\)"):
            check_dataset(file, "item")
        check_dataset(file, "whole")
        with pytest.raises(ValueError, match=r"declares 1000.0 GB for 'whole'"):
            check_dataset(file, "whole", whole=True)


def test_a_group_is_no_data_set(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_group("values")
    with opened(tmp_path / "x.h5") as file, pytest.raises(KeyError, match="is no data set"):
        check_dataset(file, "values")


def test_a_label_file_shows_no_other_file(tmp_path, secret):
    with LabelWriter(tmp_path / "x.h5", kind="depth", teacher="a test", settings={}) as writer:
        writer.write("a", np.ones((8, 8), np.float32))
        writer.finish()
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file["values"]
        file.create_dataset("values", (1, 8, 8), np.uint8, external=[(str(secret), 0, 64)])
    with pytest.raises(ValueError, match=r"x.h5' is refused, because its data set 'values' has its values in the file"):
        LabelStore(tmp_path / "x.h5")


def test_nyu_depth_shows_no_other_file(tmp_path, secret):
    with h5py.File(tmp_path / "x.mat", "w") as file:
        file.create_dataset("images", (1, 3, 640, 480), np.uint8, external=[(str(secret), 0, 3 * 640 * 480)])
        file["depths"] = np.ones((1, 640, 480), np.float32)
    with pytest.raises(ValueError, match=r"x.mat' is refused, because its data set 'images'"):
        count_frames(tmp_path / "x.mat")


def test_the_limit_holds_the_largest_image():
    assert safe_hdf5.MAX_BYTES >= 400e6 * 3
