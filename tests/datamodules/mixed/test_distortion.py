"""Conversion of exact depth to ground truth of other kinds."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from datamodules.mixed.distortion import DistortedSource, Distortion
from datamodules.samples.frame import Frame
from structures.depth_kind import DepthKind
from tests.data.memory import MemorySource

OTHERS = [kind for kind in DepthKind if kind is not DepthKind.METRIC]


class HoledSource(MemorySource):
    """Frames of random depth, unknown in the first row, with a metric pose and label."""

    def read(self, index: int) -> Frame:
        """Return one frame."""
        depth = np.random.default_rng(index).uniform(0.5, 8.0, self.image_size).astype(np.float32)
        depth[0] = 0
        frame = dataclasses.replace(super().read(index), depth=depth, T_world_camera=np.eye(4))
        frame.labels["plane"] = np.ones(self.image_size, np.uint16)
        return frame


def fitted(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Return slope, offset and largest residual of a linear fit to (x, y)."""
    slope, offset = np.polyfit(x, y, 1)
    return float(slope), float(offset), float(np.abs(slope * x + offset - y).max())


@pytest.mark.parametrize("kind", [DepthKind.AFFINE_DEPTH, DepthKind.AFFINE_DISPARITY])
def test_affine_ground_truth_is_an_affine_function_of_depth(kind: DepthKind) -> None:
    distortion = Distortion(scale_range=(0.2, 5.0), shift_range=(-1.0, 3.0), seed=7)
    source = HoledSource(40, "train")
    distorted = DistortedSource(source, kind, distortion)
    slopes, offsets = [], []
    for index in range(40):
        depth, frame = source.read(index).depth, distorted.read(index)
        known = depth > 0
        metres = depth[known].astype(np.float64)
        x = metres if kind is DepthKind.AFFINE_DEPTH else 1 / metres
        a, b, _ = distortion.draw(index)
        np.testing.assert_allclose(frame.labels["truth"][known], a * x + b, rtol=1e-6, atol=1e-6)
        slope, offset, residual = fitted(x, frame.labels["truth"][known].astype(np.float64))
        assert (slope, offset) == pytest.approx((a, b), abs=1e-5)
        assert residual < 1e-5
        slopes.append(slope)
        offsets.append(offset)
    assert 0.2 <= min(slopes) < 0.5
    assert 2.0 < max(slopes) <= 5.0
    assert -1.0 <= min(offsets) < 0
    assert 2.0 < max(offsets) <= 3.0


def test_ordinal_ground_truth_preserves_only_the_order() -> None:
    source = HoledSource(10, "train")
    distorted = DistortedSource(source, DepthKind.ORDINAL, Distortion(power_range=(0.3, 3.0)))
    powers = []
    for index in range(10):
        depth, truth = source.read(index).depth, distorted.read(index).labels["truth"]
        known = depth > 0
        assert (np.diff(truth[known][np.argsort(depth[known])]) >= 0).all()
        assert truth.max() == 1
        relative = depth[known].astype(np.float64) / depth.max()
        powers.append(float(np.median(np.log(truth[known][relative < 1]) / np.log(relative[relative < 1]))))
        np.testing.assert_allclose(truth[known], relative ** powers[-1], rtol=1e-4)
    assert max(powers) / min(powers) > 2


@pytest.mark.parametrize("kind", OTHERS)
def test_no_metric_data_remain_beside_the_ground_truth(kind: DepthKind) -> None:
    source = HoledSource(3, "train")
    frame = DistortedSource(source, kind, Distortion()).read(1)
    assert not frame.depth.any()
    assert frame.T_world_camera is None
    assert set(frame.labels) == {"truth"}
    assert set(frame.flags) == {"truth_mask"}
    np.testing.assert_array_equal(frame.flags["truth_mask"], source.read(1).depth > 0)
    assert not frame.labels["truth"][~frame.flags["truth_mask"]].any()


def test_metric_truth_is_depth() -> None:
    source = HoledSource(3, "train")
    frame = DistortedSource(source, DepthKind.METRIC, Distortion()).read(1)
    np.testing.assert_array_equal(frame.labels["truth"], source.read(1).depth)
    np.testing.assert_array_equal(frame.depth, source.read(1).depth)
    np.testing.assert_array_equal(frame.flags["truth_mask"], source.read(1).depth > 0)


def test_draws_depend_on_seed_and_image_alone() -> None:
    assert Distortion().draw(5) == Distortion().draw(5)
    assert len({Distortion().draw(index) for index in range(50)}) == 50
    assert Distortion(seed=1).draw(5) != Distortion(seed=2).draw(5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale_range": (0.0, 1.0)}, r"scale_range is \(0.0, 1.0\), it must be a rising pair of finite positive"),
        ({"scale_range": (2.0, 1.0)}, r"scale_range is \(2.0, 1.0\)"),
        ({"shift_range": (0.0, float("nan"))}, r"shift_range is \(0.0, nan\), it must be a rising pair of finite num"),
        ({"power_range": (-1.0, 1.0)}, r"power_range is \(-1.0, 1.0\)"),
        ({"seed": -1}, r"seed is -1, it must not be negative"),
    ],
)
def test_bad_values_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Distortion(**change)
