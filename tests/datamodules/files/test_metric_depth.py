"""The largest value of an integer type is no measurement in metric depth files."""

import logging

import cv2
import numpy as np
import pytest

from datamodules.depth_list import DepthListDataModule
from datamodules.files.metric_depth import SATURATED, to_metres
from datamodules.image_sequences.frames_video import FramesVideoDataModule
from datamodules.loading.notices import tallies
from datamodules.manifest.datamodule import ManifestDataModule
from datamodules.manifest.rows import read_manifest
from datamodules.mixed.manifest import ManifestTruthSource
from tests.data.make_frames_video import make_frames_video
from tests.data.make_manifest_data import make_manifest_data, true_depth_mm

VALUES = [[0, 1000], [2500, 65535]]


@pytest.mark.parametrize(
    ("dtype", "name", "last"),
    [
        (np.uint16, "a.png", 0.0),
        (np.int32, "a.png", 0.0),  # as some decoders give 16 bits
        (np.uint16, "a.npy", 0.0),
        (np.int32, "a.npy", 65.535),
        (np.float32, "a.npy", 65.535),
    ],
)
def test_saturated_depth_is_no_measurement(tmp_path, dtype, name, last):
    metres = to_metres(np.array(VALUES, dtype=dtype), 1000.0, path=tmp_path / name)
    assert metres.dtype == np.float32
    np.testing.assert_allclose(metres, [[0, 1.0], [2.5, last]], rtol=1e-6)


def test_the_largest_value_of_a_wider_type(tmp_path):
    values = np.array([[1, np.iinfo(np.int32).max]], dtype=np.int32)
    np.testing.assert_allclose(to_metres(values, 1.0, path=tmp_path / "a.tiff"), [[1, 0]])


def saturate(folder, frames=8):
    for frame in range(frames):
        depth = true_depth_mm(frame)
        depth[:, :8] = 65535
        cv2.imwrite(str(folder / "depth" / f"{frame:03d}.png"), depth)


def test_saturated_depth_of_a_manifest_is_counted_and_reported_once(tmp_path, caplog):
    path = make_manifest_data(tmp_path)
    saturate(tmp_path)
    data = ManifestDataModule(str(path), image_size=(24, 32), oversampling=None)
    data.prepare_data()
    data.setup("test")
    with caplog.at_level(logging.WARNING):
        samples = [data.datasets["test"][index] for index in range(3)]
    for number, sample in enumerate(samples, start=5):
        assert not sample["depth_mask"][0, :, :8].any()
        np.testing.assert_allclose(sample["depth"][0, :, 8:], true_depth_mm(number)[:, 8:] / 1000, rtol=1e-6)
    (message,) = [record.message for record in caplog.records if "65535" in record.message]
    assert "25% of the depth is 65535" in message
    assert tallies(SATURATED)[str(path)] == 3 * 24 * 8


def test_ground_truth_of_other_kinds_keeps_the_largest_value(tmp_path):
    path = make_manifest_data(tmp_path)
    saturate(tmp_path)
    rows = path.read_text().replace("depth_scale", "kind").replace(",1000,", ",affine_disparity,")
    path.write_text(rows)
    source = ManifestTruthSource(read_manifest(path), K_convention="centre", default_field_of_view_degrees=60.0)
    frame = source.read(0)
    assert (frame.labels["truth"][:, :8] == 65535).all()


def test_video_frames_and_lists_drop_saturated_depth(tmp_path):
    folder = make_frames_video(tmp_path / "video", frames=12, depth=tmp_path / "depth")
    for path in (tmp_path / "depth").iterdir():
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        depth[:, :16] = 65535
        cv2.imwrite(str(path), depth)
    video = FramesVideoDataModule(
        str(folder), depth_root=str(tmp_path / "depth"), evaluation="frames", min_flow=None, max_flow=None
    )
    (tmp_path / "list.txt").write_text("video/frame_3.png depth/frame_3.png\n")
    listed = DepthListDataModule(str(tmp_path), layout="pairs", frame_list="list.txt")
    for frame in (video.make_source("test").read(0), listed.make_source("test").read(0)):
        assert (frame.depth[:, :16] == 0).all()
        assert 0 < frame.depth[1:, 16:].min() <= frame.depth.max() < 6


def test_a_few_pixels_are_not_rounded_to_zero_percent(tmp_path, caplog):
    values = np.full((48, 64), 1000, np.uint16)
    values[0, :2] = 65535
    with caplog.at_level(logging.WARNING):
        to_metres(values, 1000.0, path=tmp_path / "a.png")
    assert "a.png: 2 pixels of the depth are 65535" in caplog.text
