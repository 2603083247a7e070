import json
import math

import numpy as np
import pytest

from structures.sample_file import LARGEST_SIDE, SampleRecord, read_samples, write_samples


def record(height=12, width=16, **changes):
    depth = np.linspace(1, 5, height * width, dtype=np.float32).reshape(height, width)
    given = {
        "name": "room 3",
        "image": np.arange(height * width * 3, dtype=np.uint32).astype(np.uint8).reshape(height, width, 3),
        "truth": depth,
        "prediction": depth + 1,
        "K": np.array([[20.0, 0, 8], [0, 22, 6], [0, 0, 1]]),
        "scores": {"abs_rel": 0.25, "no number": math.nan},
        "panels": {"from above": np.zeros((4, 5, 3), np.uint8)},
    }
    return SampleRecord(**(given | changes))


def test_what_is_read_is_what_was_written(tmp_path):
    path = tmp_path / "samples" / "depth_val.npz"
    write_samples(path, [record(), record(name="b", truth=None, K=None, panels={})], step=7, unit="m")
    (first, second), about = read_samples(path)
    assert about == {"step": 7, "unit": "m"}
    np.testing.assert_array_equal(first.image, record().image)
    np.testing.assert_allclose(first.prediction, record().prediction, rtol=1e-3)
    np.testing.assert_allclose(first.K, record().K)
    assert first.scores == {"abs_rel": 0.25}
    assert first.before is None
    assert list(first.panels) == ["from above"]
    assert (second.name, second.truth, second.K, second.panels) == ("b", None, None, {})


def test_large_images_are_reduced_with_their_intrinsics(tmp_path):
    write_samples(tmp_path / "a.npz", [record(4 * LARGEST_SIDE, 2 * LARGEST_SIDE)], step=0, unit="m")
    ((sample,), _) = read_samples(tmp_path / "a.npz")
    assert sample.image.shape == (LARGEST_SIDE, LARGEST_SIDE // 2, 3)
    assert sample.truth.shape == sample.image.shape[:2]
    np.testing.assert_allclose(sample.K, [[5, 0, 2], [0, 5.5, 1.5], [0, 0, 1]])
    # Every depth is one that a pixel had.
    assert np.isin(sample.truth, record(4 * LARGEST_SIDE, 2 * LARGEST_SIDE).truth.astype(np.float16)).all()


def test_values_that_are_no_depth_are_none(tmp_path):
    depth = np.ones((12, 16), np.float32)
    depth[0, :4] = [np.nan, np.inf, -np.inf, 1e6]
    write_samples(tmp_path / "a.npz", [record(prediction=depth)], step=0, unit="m")
    ((sample,), _) = read_samples(tmp_path / "a.npz")
    assert sample.prediction[0, :5].tolist() == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"text"])
def test_a_damaged_file_is_one_sentence(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz is no file of validation samples, or damaged"):
        read_samples(path)


def test_an_archive_of_something_else_is_one_sentence(tmp_path):
    about = np.frombuffer(json.dumps({"samples": [{"name": "x", "scores": {}, "panels": []}]}).encode(), np.uint8)
    for arrays in ({"other": np.zeros(2)}, {"about": about}):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(ValueError, match="no file of validation samples"):
            read_samples(tmp_path / "a.npz")
