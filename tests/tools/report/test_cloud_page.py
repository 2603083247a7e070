"""The page of one image's cloud holds its points and needs no network."""

import base64
import json
import re

import numpy as np
import pytest

from structures.sample_file import SampleRecord
from tools.report.cloud_page import MOST_POINTS, write_cloud_page

K = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])


def record(depth=None, name="photo"):
    height, width = 48, 64
    depth = np.full((height, width), 2.0, np.float32) if depth is None else depth
    image = np.full((*depth.shape, 3), (10, 20, 30), np.uint8)
    return SampleRecord(name, image, prediction=depth, K=K)


def content_of(page):
    content = json.loads(re.search(r'<script type="application/json" id="report">(.*?)</script>', page, re.DOTALL)[1])
    assets = dict(re.findall(r'<script type="text/plain" id="a-(\w+)">(.*?)</script>', page, re.DOTALL))
    return content, assets


def test_the_points_are_those_of_the_depth(tmp_path):
    depth = np.full((48, 64), 2.0, np.float32)
    depth[:, 32:] = 4.0
    depth[0] = 0.0
    size = write_cloud_page(tmp_path / "below" / "a.v1", record(depth), unit="relative")
    path = tmp_path / "below" / "a.v1_cloud.html"
    assert path.stat().st_size == size < 6_000_000
    content, assets = content_of(path.read_text())
    assert (content["name"], content["unit"]) == ("photo", "relative")
    grid = json.loads(assets[content["cloud"]["grids"]["prediction"]])
    levels = np.frombuffer(base64.b64decode(grid["levels"]), "<u2").reshape(grid["h"], grid["w"])
    assert (grid["h"], grid["w"], grid["step"]) == (48, 64, 1)
    assert (grid["near"], grid["far"]) == (2.0, 4.0)
    assert (levels[0] == 0).all()
    assert (levels[1:, :32] == 1).all()
    assert (levels[1:, 32:] == 65535).all(), "edges were left out before, and are not looked for again"
    colours = np.frombuffer(base64.b64decode(assets[content["cloud"]["colours"]]), np.uint8)
    assert colours.reshape(-1, 3)[5].tolist() == [10, 20, 30]


def test_a_large_image_is_thinned(tmp_path):
    depth = np.ones((1200, 1600), np.float32)
    write_cloud_page(tmp_path / "a", record(depth))
    content, assets = content_of((tmp_path / "a_cloud.html").read_text())
    grid = json.loads(assets[content["cloud"]["grids"]["prediction"]])
    assert MOST_POINTS / 3 < grid["h"] * grid["w"] <= 1.05 * MOST_POINTS
    assert (tmp_path / "a_cloud.html").stat().st_size < 6_500_000


@pytest.mark.parametrize("name", ["</script><b>", "Küche\n厨房", "x" * 5000])
def test_any_name_stays_text(tmp_path, name):
    write_cloud_page(tmp_path / "a", record(name=name))
    page = (tmp_path / "a_cloud.html").read_text()
    assert content_of(page)[0]["name"] == name
    assert not re.search(r"""(?:src|href)\s*=\s*["']https?:""", page.split("<script>")[0])
    assert "default-src 'none'" in page


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_depth_without_a_point_gives_no_page(tmp_path, value):
    assert write_cloud_page(tmp_path / "a", record(np.full((48, 64), value, np.float32))) == 0
    assert not list(tmp_path.iterdir())
