"""Pseudo depth: normalised inverse depth, near = 1, looked up by image name."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.coco.file import CocoFile
from datamodules.coco.source import CocoSource
from datamodules.samples.pseudo_depth import NoiseDepth, StoredDepth, nearness, noise, open_depth
from structures.label_store import LabelStore
from structures.label_writer import LabelWriter
from tests.data.make_coco import make_coco


@pytest.fixture
def source(tmp_path: Path) -> CocoSource:
    root = make_coco(tmp_path / "coco")
    file = CocoFile(root / "annotations/instances_train2017.json", keep_masks=False)
    return CocoSource(file.images, root / "train2017")


def write(path: Path, names: list[str], **settings) -> Path:
    with LabelWriter(path, kind="depth", teacher="a test", settings=settings) as writer:
        for position, name in enumerate(names, start=1):
            depth = np.full((6, 9), 4.0, dtype=np.float32)
            depth[:, :3] = position / 10
            depth[0, 8] = 0
            writer.write(name, depth)
        writer.finish()
    return path


def test_nearness_is_inverse_depth_stretched_over_what_is_known() -> None:
    near, known = nearness(np.array([[1.0, 2.0], [4.0, 0.0]]))
    np.testing.assert_allclose(near, [[1, 1 / 3], [0, 0]], rtol=1e-6)  # (1/2 - 1/4) / (1 - 1/4)
    np.testing.assert_array_equal(known, [[True, True], [True, False]])
    scaled, _ = nearness(np.array([[10.0, 20.0], [40.0, 0.0]]))
    np.testing.assert_allclose(scaled, near, rtol=1e-6)


def test_one_wrong_pixel_does_not_set_the_unit_of_percentiles() -> None:
    depth = 1 / np.linspace(0.2, 1.2, 1001).reshape(7, 143)
    clean, _ = nearness(depth, (1.0, 99.0))
    depth[3, 50] = 0.02  # 2 cm, an inverse depth of 50
    robust, extremes = (nearness(depth, percentiles)[0] for percentiles in ((1.0, 99.0), (0.0, 100.0)))
    others = np.ones(depth.shape, np.bool_)
    others[3, 50] = False
    np.testing.assert_allclose(robust[others], clean[others], atol=2e-3)
    np.testing.assert_allclose(clean.ravel()[[10, 500, 990]], [0, 0.5, 1], atol=1e-6)
    assert (robust.min(), robust.max()) == (0, 1)
    assert extremes[others].max() < 0.03


def test_depth_without_contrast_or_without_any_value_is_finite() -> None:
    for depth in (np.full((2, 2), 3.0), np.zeros((2, 2))):
        near, _ = nearness(depth)
        np.testing.assert_array_equal(near, 0)


def test_noise_is_equal_in_every_epoch_and_differs_between_images() -> None:
    one = noise((24, 32), seed=3, index=5)
    np.testing.assert_array_equal(one, noise((24, 32), seed=3, index=5))
    assert (one.min(), one.max()) == (0, 1)
    assert abs(np.corrcoef(one.ravel(), noise((24, 32), seed=3, index=6).ravel())[0, 1]) < 0.5
    assert np.abs(np.diff(one, axis=1)).max() < 0.5  # smooth, as depth is


def test_stored_depth_is_found_by_the_name_of_its_image(source: CocoSource, tmp_path: Path) -> None:
    store = open_depth(write(tmp_path / "d.h5", list(reversed(source.names))), names=source.names, content_key=None)
    joined = StoredDepth(source, store)
    assert joined.names == source.names
    frame = joined.read(1, masks=False)
    expected, known = nearness(LabelStore(tmp_path / "d.h5").read(source.names[1]))
    np.testing.assert_array_equal(frame.pseudo_depth, expected)
    assert expected[0, 0] == 1
    assert expected[0, 4] == 0
    assert not known[0, 8]
    assert not frame.depth_mask[0, 8]


def test_file_that_lacks_an_image_is_refused(source: CocoSource, tmp_path: Path) -> None:
    path = write(tmp_path / "d.h5", source.names[:-2])
    with pytest.raises(ValueError, match=r"no depth for 2 of 6 training images, the first is '000000000005'"):
        open_depth(path, names=source.names, content_key=None)


def test_missing_file_and_file_of_other_data_are_refused(source: CocoSource, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no label file"):
        open_depth(tmp_path / "none.h5", names=source.names, content_key=None)
    path = write(tmp_path / "d.h5", source.names, data="rooms-1")
    with pytest.raises(ValueError, match=r"made of other data \(rooms-1, not rooms-2\)"):
        open_depth(path, names=source.names, content_key="rooms-2")


def test_noise_replaces_depth(source: CocoSource) -> None:
    frame = NoiseDepth(source, seed=0).read(2, masks=False)
    assert frame.pseudo_depth.shape == frame.image.shape[:2]
    assert frame.depth_mask.all()
