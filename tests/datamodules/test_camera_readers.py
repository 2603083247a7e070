"""Every reader of intrinsics refuses implausible cameras before training, and logs doubts once per data set."""

import logging

import numpy as np
import pytest

from datamodules.depth_list import DepthListDataModule
from datamodules.image_sequences.frames_video import FramesVideoDataModule
from datamodules.image_sequences.sc_depth_layout import ScDepthDataModule, read_k
from datamodules.manifest.datamodule import ManifestDataModule
from datamodules.mixed.sources import ManifestDomain
from tests.data.make_frames_video import make_frames_video, write_camera
from tests.data.make_manifest_data import make_manifest_data
from tests.data.make_sc_depth import make_sc_depth

GOOD = "30.0,31.0,15.5,11.5"
BAD = {
    "normalised": ("0.58,1.92,0.5,0.5", "line 2: .*fx=0.58, fy=1.92, cx=0.5, cy=0.5: normalised by the image size"),
    "negative": ("-50,50,15.5,11.5", "line 2: focal lengths are in pixels and positive, but fx=-50"),
    "of an image twice as large": ("60,62,31.5,23.5", "line 2: .*another image size, about 64x48 .2 times"),
    "of an image half as large": ("15,15.5,7.5,5.5", "line 2: .*another image size, about 16x12 .0.5 times"),
    "turned": ("30,31,11.5,15.5", "line 2: .*turned by 90 degrees"),
    "too wide": ("1.2,31,15.5,11.5", "line 2: fx=1.2 means a horizontal field of view of 171 degrees"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_manifest_is_refused_before_anything_starts(tmp_path, case):
    written, message = BAD[case]
    path = make_manifest_data(tmp_path)
    path.write_text(path.read_text().replace(GOOD, written))
    with pytest.raises(ValueError, match=message):
        ManifestDataModule(str(path)).prepare_data()
    with pytest.raises(ValueError, match=message):
        ManifestDomain(name="set", manifest="manifest.csv", kind="metric").prepare(tmp_path)


def test_a_doubt_is_reported_once_for_all_rows_and_splits(tmp_path, caplog):
    path = make_manifest_data(tmp_path)
    path.write_text(path.read_text().replace(GOOD, "30,31,5,11.5"))
    data = ManifestDataModule(str(path))
    with caplog.at_level(logging.WARNING):
        data.prepare_data()
        data.setup("fit")
        for dataset in data.datasets.values():
            assert all(dataset[index]["K_known"] for index in range(len(dataset)))
    assert sum("outside the middle half" in record.message for record in caplog.records) == 1


def test_plausible_cameras_cause_no_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        data = ManifestDataModule(str(make_manifest_data(tmp_path)), image_size=(24, 32))
        data.prepare_data()
        data.setup("test")
        data.datasets["test"][0]
    assert [r.message for r in caplog.records if "manifest.csv" in r.message and "val" not in r.message] == []


@pytest.mark.parametrize("intrinsics", [(0.58, 1.92, 0.5, 0.5), (-50.0, 50.0, 16.0, 12.0)])
def test_arguments_are_refused_by_constructors(tmp_path, intrinsics):
    with pytest.raises(ValueError, match=r"data.init_args.intrinsics: .*(normalised|positive)"):
        ManifestDataModule(str(tmp_path), intrinsics=intrinsics)
    with pytest.raises(ValueError, match=r"normalised|positive"):
        DepthListDataModule(str(tmp_path), layout="pairs", intrinsics=intrinsics)
    with pytest.raises(ValueError, match=r"source set: intrinsics: .*(normalised|positive)"):
        ManifestDomain(name="set", manifest="m.csv", intrinsics=intrinsics)


@pytest.mark.parametrize("degrees", [0.0, 1.05, 180.0, float("nan")])
def test_fields_of_view_are_refused_by_constructors(tmp_path, degrees):
    for module in (ManifestDataModule, FramesVideoDataModule, ScDepthDataModule):
        with pytest.raises(ValueError, match=r"default_field_of_view_degrees is .* has to lie between 5 and 170"):
            module(str(tmp_path), default_field_of_view_degrees=degrees)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fx": 0.9, "fy": 1.2, "cx": 0.5, "cy": 0.5}, "normalised by the image size"),
        ({"fx": 120, "fy": 124, "cx": 63.5, "cy": 47.5}, "another image size, about 128x96"),
        ({"cx": 23.5, "cy": 31.5}, "turned by 90 degrees"),
    ],
)
def test_a_camera_file_is_refused(tmp_path, changes, message):
    make_frames_video(tmp_path / "video")
    write_camera(tmp_path / "video" / "camera.yaml", **changes)
    with pytest.raises(ValueError, match=rf"camera.yaml: .*{message}"):
        FramesVideoDataModule(str(tmp_path / "video")).prepare_data()


def test_cam_txt_of_another_size_is_refused_before_training(tmp_path):
    make_sc_depth(tmp_path)
    cam = sorted((tmp_path / "Training").glob("*/cam.txt"))[0]
    K = np.loadtxt(cam)
    np.savetxt(cam, np.diag([2.0, 2.0, 1.0]) @ K)
    with pytest.raises(ValueError, match=r"cam.txt: .*another image size"):
        ScDepthDataModule(str(tmp_path)).prepare_data()
    cam.write_text("0.58 0 0.5\n0 1.92 0.5\n0 0 1\n")
    with pytest.raises(ValueError, match=r"cam.txt: .*normalised"):
        read_k(cam, "centre")
