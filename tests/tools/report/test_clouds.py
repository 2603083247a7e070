import base64
import json

import numpy as np

from structures.sample_file import SampleRecord
from tests.data.make_runs import sample
from tools.report.assets import Assets
from tools.report.clouds import MOST_POINTS, cloud_of


def points_of(grid):
    """The points as the page computes them, from the description of a grid."""
    levels = np.frombuffer(base64.b64decode(grid["levels"]), "<u2").reshape(grid["h"], grid["w"])
    depth = grid["near"] * (grid["far"] / grid["near"]) ** ((levels.astype(float) - 1) / 65534)
    fx, fy, cx, cy = grid["K"]
    u = np.arange(grid["w"]) * grid["step"] + grid["first"]
    v = np.arange(grid["h"]) * grid["step"] + grid["first"]
    points = np.stack([(u[None] - cx) / fx * depth, (v[:, None] - cy) / fy * depth, depth], axis=-1)
    return points[levels > 0]


def test_points_lie_where_the_camera_sees_them():
    record, assets = sample(error=0.0), Assets()
    cloud = cloud_of(record, assets)
    points = points_of(json.loads(assets.texts[cloud["grids"]["truth"]]))
    assert len(points) == (record.truth > 0).sum()
    # Projected again, each point falls onto the centre of its pixel, which has its depth.
    projected = points @ record.K.T
    u, v = (projected[:, :2] / projected[:, 2:]).T
    np.testing.assert_allclose(u % 1, 0.5, atol=1e-6)
    np.testing.assert_allclose(record.truth[v.astype(int), u.astype(int)], points[:, 2], rtol=1e-4)


def test_large_images_give_few_points_and_the_three_depths_share_their_colours():
    record, assets = sample(before=0.4, height=192, width=256), Assets()
    cloud = cloud_of(record, assets)
    assert list(cloud["grids"]) == ["truth", "before", "prediction"]
    grid = json.loads(assets.texts[cloud["grids"]["prediction"]])
    assert 0.5 * MOST_POINTS < grid["h"] * grid["w"] <= MOST_POINTS
    assert len(base64.b64decode(assets.texts[cloud["colours"]])) == 3 * grid["h"] * grid["w"]


def test_edges_and_pixels_without_depth_give_no_points():
    depth = np.full((10, 10), 2.0)
    depth[:, 5:] = 4.0
    depth[0] = np.nan
    record = SampleRecord("x", np.zeros((10, 10, 3), np.uint8), None, depth, None, np.diag([5.0, 5, 1]))
    assets = Assets()
    points = points_of(json.loads(assets.texts[cloud_of(record, assets)["grids"]["prediction"]]))
    assert len(points) == 9 * 8, "two columns at the jump and a row without depth are left out"


def test_without_intrinsics_or_depth_there_is_no_cloud():
    whole = vars(sample())
    for missing in ({"K": None}, {"prediction": None}, {"prediction": np.zeros((48, 64))}):
        assert cloud_of(SampleRecord(**(whole | missing)), Assets()) is None
