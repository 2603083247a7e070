import struct

import numpy as np
import pytest

from structures.ply import write_ply


def read_ply(path):
    """A reader that follows the header line by line and unpacks one vertex after the other."""
    content = path.read_bytes()
    header, body = content.split(b"end_header\n", 1)
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    count = int(lines[2].removeprefix("element vertex "))
    codes = {"float": "f", "uchar": "B"}
    properties = [line.split()[1:] for line in lines[3:]]
    assert [name for _, name in properties] == ["x", "y", "z", "red", "green", "blue"]
    layout = struct.Struct("<" + "".join(codes[kind] for kind, _ in properties))
    assert len(body) == count * layout.size
    return list(layout.iter_unpack(body))


def test_an_independent_reader_gets_the_points_back(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(57, 3)).astype(np.float32)
    colours = rng.integers(0, 256, size=(57, 3), dtype=np.uint8)
    write_ply(tmp_path / "deep" / "cloud.ply", points, colours)
    vertices = read_ply(tmp_path / "deep" / "cloud.ply")
    np.testing.assert_array_equal([v[:3] for v in vertices], points)
    np.testing.assert_array_equal([v[3:] for v in vertices], colours)


def test_an_empty_cloud_is_a_file(tmp_path):
    write_ply(tmp_path / "cloud.ply", np.zeros((0, 3)), np.zeros((0, 3), dtype=np.uint8))
    assert read_ply(tmp_path / "cloud.ply") == []


@pytest.mark.parametrize(
    ("points", "colours", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 2), np.uint8), r"\(N, 3\)"),
        (np.zeros((2, 3)), np.zeros((1, 3), np.uint8), r"\(N, 3\)"),
        (np.zeros((2, 3)), np.zeros((2, 3)), "uint8"),
        (np.full((2, 3), np.nan), np.zeros((2, 3), np.uint8), "2 of 2 points"),
    ],
)
def test_wrong_input_is_refused_and_nothing_written(tmp_path, points, colours, message):
    with pytest.raises(ValueError, match=message):
        write_ply(tmp_path / "cloud.ply", points, colours)
    assert list(tmp_path.iterdir()) == []
