import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from structures.tum import read_tum, write_tum


def path(n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    T = np.tile(np.eye(4), (n, 1, 1))
    T[:, :3, :3] = Rotation.random(n, rng=rng).as_matrix()
    T[:, :3, 3] = rng.normal(size=(n, 3))
    return 1.7e9 + np.cumsum(rng.uniform(0.01, 0.1, n)), T


def test_a_path_survives_the_file(tmp_path):
    times, T = path()
    write_tum(tmp_path / "new" / "path.txt", times, T)
    times_back, T_back = read_tum(tmp_path / "new" / "path.txt")
    np.testing.assert_array_equal(times_back, times)
    np.testing.assert_array_equal(T_back[:, :3, 3], T[:, :3, 3])
    np.testing.assert_allclose(T_back, T, rtol=0, atol=1e-14)
    quaternions = np.loadtxt(tmp_path / "new" / "path.txt")[:, 4:]
    assert (quaternions[:, 3] >= 0).all()  # of the two quaternions of a rotation, always the same one
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["path.txt"]


def test_lines_are_those_of_the_format(tmp_path):
    T = np.eye(4)[None].repeat(2, axis=0)
    # A quarter turn about z, and two metres along y.
    T[1] = [[0, -1, 0, 0], [1, 0, 0, 2], [0, 0, 1, 0], [0, 0, 0, 1]]
    write_tum(tmp_path / "path.txt", np.array([0.0, 0.5]), T)
    header, *lines = (tmp_path / "path.txt").read_text().splitlines()
    assert header == "# timestamp tx ty tz qx qy qz qw"
    assert lines[0] == "0.0 0.0 0.0 0.0 0.0 0.0 0.0 1.0"
    half = np.sqrt(0.5)
    np.testing.assert_allclose(np.array(lines[1].split(), dtype=float), [0.5, 0, 2, 0, 0, 0, half, half], atol=1e-15)


def test_foreign_files_are_read(tmp_path):
    file = tmp_path / "path.txt"
    file.write_text("# a comment\n\n1305031102.1 1.0 2.0 3.0 0 0 2.0 0\n1305031102.2\t1 2 3  0 0 0 -1\n")
    times, T = read_tum(file)
    assert times.tolist() == [1305031102.1, 1305031102.2]
    np.testing.assert_allclose(T[0], [[-1, 0, 0, 1], [0, -1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], atol=1e-15)
    np.testing.assert_allclose(T[1, :3, :3], np.eye(3))


def test_an_empty_path(tmp_path):
    write_tum(tmp_path / "path.txt", np.empty(0), np.empty((0, 4, 4)))
    times, T = read_tum(tmp_path / "path.txt")
    assert times.shape == (0,)
    assert T.shape == (0, 4, 4)


@pytest.mark.parametrize("line", ["1 2 3", "1 2 3 4 0 0 0 one", "1 2 3 4 0 0 0 0", "1 nan 3 4 0 0 0 1"])
def test_a_broken_line_is_named(tmp_path, line):
    file = tmp_path / "path.txt"
    file.write_text(f"# header\n0 0 0 0 0 0 0 1\n{line}\n")
    with pytest.raises(ValueError, match=f"line 3 of .*path.txt is '{line}'"):
        read_tum(file)


def changed(index: tuple[int, ...], value: float) -> np.ndarray:
    T = path()[1]
    T[index] = value
    return T


@pytest.mark.parametrize(
    ("times", "T", "message"),
    [
        (path()[0][:-1], path()[1], r"shape \(5,\)"),
        (path()[0], path()[1][:, :3], r"\(6, 3, 4\)"),
        (path()[0][::-1], path()[1], "strictly increasing"),
        (np.zeros(6), path()[1], "strictly increasing"),
        (path()[0], changed((2, 0, 3), np.nan), "pose 2 of 6"),
        (path()[0], changed((3, 1, 1), 2.0), "pose 3 of 6"),
        (path()[0], changed((4, 3, 0), 1.0), "pose 4 of 6"),
        (path()[0], path()[1] * [1, 1, -1, 1], "pose 0 of 6"),
    ],
)
def test_what_is_no_path_is_not_written(tmp_path, times, T, message):
    with pytest.raises(ValueError, match=message):
        write_tum(tmp_path / "path.txt", times, T)
    assert not list(tmp_path.iterdir())
